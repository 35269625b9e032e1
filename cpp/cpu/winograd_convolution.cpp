// The three steps for one row of tiles or one panel; winograd_convolution.h has the drawing.

#include "winograd_convolution.h"

#include "dispatch.h"
#include "parallel.h"
#include "winograd_transform.h"

namespace alexnet::cpu::winograd {
namespace {

const float* make_zeros(size_t count) {
    float* memory = scratch(Slot::kOutside, Size{count});
    std::fill_n(memory, count, 0.0f);
    return memory;
}

}  // namespace

Convolution::Convolution(const Conv2dShape& s, const Operands& arrays)
    : k(kernels()),
      shape(s),
      problem(s),
      elements(problem.tiling.elements()),
      rows(s.batch * problem.tiling.vertical.tiles),
      row_tiles(problem.tiling.horizontal.tiles),
      threads(num_threads()),
      team(static_cast<size_t>(threads)),
      schedule(choose(s.batch, problem.tiling, problem.group_in, s.group_out(), team)),
      panels(k, s.group_out(), schedule == Schedule::kByPanels ? team : 1),
      operands(arrays),
      zeros(make_zeros(std::max(problem.group_in, s.out_channels))),
      weights(k, shape, problem, panels, arrays.weight, arrays.flipped, zeros),
      rejected(s.batch) {}

void Convolution::transform_input(TileInput& input, size_t group, Range block, size_t row,
                                  const ElementMatrices& v) {
    const size_t tile_row = row % problem.tiling.vertical.tiles;
    input.set_tile_row(row);
    if (!input.is_alike(group)) rejected.add(row / problem.tiling.vertical.tiles);
    ElementPointers pointers(problem.tiling, block.begin, row, v);
    Prefetcher prefetcher(input.floats({row + 1, std::min(row + 2, block.end)}),
                          row_tiles * ceil_div(problem.group_in, k.lanes));
    for (size_t q = 0; q < row_tiles; ++q) {
        const float* points[kTileElements];
        input.pointers(q, group, points);
        float* const* v_elements = pointers.next();
        const Transform transform = winograd::input_transform(k, problem.tiling, tile_row, q);
        for (size_t c = 0; c < problem.group_in; c += k.lanes) {
            const size_t lanes = std::min(k.lanes, problem.group_in - c);
            transform(points, c, lanes, v_elements, c, lanes);
            prefetcher.next_share();
        }
    }
}

void Convolution::multiply(const PanelProduct& p, const ElementMatrices& v,
                           const ElementMatrices& m) const {
    const Product product{.rows = problem.tiling.tiles_with(p.element, p.rows),
                          .a = v[p.element],
                          .row_stride = v.strides.row,
                          .depth_stride = 1,
                          .width = panels.width,
                          .c = m[p.element],
                          .c_row = m.strides.row,
                          .prefetch_distance = p.prefetch_distance};
    constexpr GemmEpilogue kSet{.partial = true};
    constexpr GemmEpilogue kResume{.resume = true, .partial = true};
    multiply_in_pieces(k, product, p.depth, p.u, p.columns, p.resume ? kResume : kSet, kResume);
}

void Convolution::transform_output(size_t first_row, size_t row, size_t group, Range columns,
                                   const ElementMatrices& m) {
    const size_t tile_row = row % problem.tiling.vertical.tiles;
    const size_t channel = group * shape.group_out();
    const float* bias = operands.bias ? operands.bias + channel : nullptr;
    ElementPointers pointers(problem.tiling, first_row, row, m);
    OutputPointers<float> outputs(shape, problem.tiling, row, operands.y + channel);
    bool finite = true;
    for (size_t q = 0; q < row_tiles; ++q) {
        float* const* m_elements = pointers.next();
        float* const* pixels = outputs.next();
        const Transform transform = output_transform(k, problem.tiling, tile_row, q);
        for (size_t o = columns.begin; o < columns.end; o += k.lanes) {
            const size_t lanes = std::min(k.lanes, columns.end - o);
            finite &= transform(m_elements, o - columns.begin, lanes, pixels, o, lanes, bias,
                                operands.relu);
        }
    }
    if (!finite) rejected.add(row / problem.tiling.vertical.tiles);
}

}  // namespace alexnet::cpu::winograd
