// The four steps of the weights' gradient; winograd_weight_gradient.h has the drawing.

#include "winograd_weight_gradient.h"

#include "winograd_guard.h"
#include "winograd_transform.h"
#include "winograd_weights.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kPointOne = 2;   // index of the point 1 (microkernels/winograd_matrices.h)
constexpr size_t kInVectors = 3;  // vectors of input channels in a panel of V

}  // namespace

WeightGradient::WeightGradient(const KernelTable& k, const Conv2dShape& s, const Problem& p,
                               size_t block_rows)
    : k_(k),
      s_(s),
      p_(p),
      tiles_(block_rows * p.tiling.horizontal.tiles),
      in_panel_(kInVectors * k.lanes),
      out_panels_(k, s.group_out()) {
    v_strides_ = {
        .row = in_panel_,
        .element = Size{tiles_} * ceil_div(p.group_in, in_panel_) * in_panel_ + kConflictPadding};
    dm_strides_ = {.row = out_panels_.width,
                   .element = out_panels_.size(tiles_) + kConflictPadding};
    du_strides_ = element_strides(p.group_in, out_panels_.count * out_panels_.width);
}

size_t WeightGradient::bias_element() const {
    return kPointOne * p_.tiling.horizontal.most_points() + kPointOne;
}

bool WeightGradient::has_bias() const {
    const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
    return vertical.tiles_with(kPointOne) == vertical.tiles &&
           horizontal.tiles_with(kPointOne) == horizontal.tiles;
}

bool WeightGradient::transform_input(TileInput& input, Range block, size_t row, size_t group,
                                     float* tiles) const {
    const size_t row_tiles = p_.tiling.horizontal.tiles;
    const size_t tile_row = row % p_.tiling.vertical.tiles;
    Prefetcher prefetcher(input.floats({row + 1, std::min(row + 2, block.end)}),
                          row_tiles * ceil_div(p_.group_in, k_.lanes));
    ElementPointers pointers(p_.tiling, block.begin, row, {tiles, v_strides_});
    input.set_tile_row(row);
    const bool alike = input.is_alike(group);
    for (size_t q = 0; q < row_tiles; ++q) {
        const float* points[kTileElements];
        input.pointers(q, group, points);
        float* const* v = pointers.next();
        const Transform transform = input_transform(k_, p_.tiling, tile_row, q);
        for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, p_.group_in - c);
            transform(points, c, lanes, v, panel_offset(c, in_panel_), lanes);
            prefetcher.next_share();
        }
    }
    return alike;
}

bool WeightGradient::transform_output_gradient(Range block, size_t row, size_t group,
                                               const float* dy, float* memory, float* tiles) const {
    const size_t row_tiles = p_.tiling.horizontal.tiles;
    const size_t tile_row = row % p_.tiling.vertical.tiles;
    Prefetcher prefetcher(output_floats({row + 1, std::min(row + 2, block.end)}, dy),
                          row_tiles * ceil_div(s_.group_out(), k_.lanes));
    ElementPointers pointers(p_.tiling, block.begin, row, {tiles + v_floats(), dm_strides_});
    OutputPointers<const float> gradients(s_, p_.tiling, row, dy + group * s_.group_out());
    for (size_t q = 0; q < row_tiles; ++q) {
        const float* const* outputs = gradients.next();
        float* const* dm = pointers.next();
        const Transform transform = output_gradient_transform(k_, p_.tiling, tile_row, q);
        for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
            transform(outputs, o, lanes, dm, panel_offset(o, out_panels_.width), k_.lanes);
            prefetcher.next_share();
        }
    }
    return gradients_are_alike(row, group, dy, memory);
}

void WeightGradient::multiply(size_t e, size_t panel, Range block, const float* tiles,
                              float* du) const {
    constexpr GemmEpilogue kSet{.partial = true};
    constexpr GemmEpilogue kAdd{.accumulate = true, .partial = true};
    const float* dm = dm_panel(e, panel, tiles);
    for (size_t c = 0; c < p_.group_in; c += in_panel_) {
        const Product product{.rows = std::min(in_panel_, p_.group_in - c),
                              .a = tiles + e * v_strides_.element + panel_offset(c, in_panel_),
                              .row_stride = 1,
                              .depth_stride = in_panel_,
                              .width = out_panels_.width,
                              .c = du + e * du_strides_.element + c * du_strides_.row,
                              .c_row = du_strides_.row};
        multiply_in_pieces(k_, product, p_.tiling.tiles_with(e, block), dm, out_panels_[panel],
                           block.begin == 0 ? kSet : kAdd, kAdd);
    }
}

void WeightGradient::add_bias(size_t panel, Range block, const float* tiles, double* sums) const {
    double panel_sums[kWidestPanel];
    k_.sum_rows(p_.tiling.tiles_with(bias_element(), block), out_panels_.width,
                dm_panel(bias_element(), panel, tiles), out_panels_.width, panel_sums);
    const Range columns = out_panels_[panel];
    for (size_t j = 0; j < columns.size(); ++j) sums[columns.begin + j] += panel_sums[j];
}

bool WeightGradient::transform_weight_gradient(const float* du, size_t group, size_t channel,
                                               float* sink, float* dweight) const {
    const float* in[kTileElements];
    for (size_t e = 0; e < elements(); ++e) {
        in[e] = du + e * du_strides_.element + channel * du_strides_.row;
    }
    float* out[kTileElements];
    tap_pointers(s_, p_, dweight, sink, group, channel, out);
    const Transform transform = weight_gradient_transform(k_, p_.tiling);
    bool finite = true;
    for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
        const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
        finite &= transform(in, o, lanes, out, o, lanes);
    }
    return finite;
}

// A tap does not see the border of dy where it meets padding, nor what meets zeros of x: so any
// half of a tile, along both axes, must have its share of the largest magnitude.
bool WeightGradient::gradients_are_alike(size_t row, size_t group, const float* dy,
                                         float* grid) const {
    const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
    const size_t n = row / vertical.tiles, p = row % vertical.tiles, rows = vertical.size(p);
    PixelMagnitudes magnitudes(k_, grid, rows, s_.out_width);
    for (size_t r = 0; r < rows; ++r) {
        const float* pixels =
            dy + s_.output_pixel(n, vertical.start(p) + r, 0) + group * s_.group_out();
        k_.magnitudes(s_.out_width, s_.group_out(), s_.out_channels, pixels, magnitudes.row(r));
    }
    if (magnitudes.all_alike()) return true;
    for (size_t q = 0; q < horizontal.tiles; ++q) {
        const Range tile{horizontal.start(q), horizontal.start(q) + horizontal.size(q)};
        if (!magnitudes.tile_is_alike(tile, ceil_div(rows, 2), ceil_div(tile.size(), 2))) {
            return false;
        }
    }
    return true;
}

std::span<const float> WeightGradient::output_floats(Range row, const float* dy) const {
    if (row.size() == 0) return {};
    const Axis& vertical = p_.tiling.vertical;
    const size_t n = row.begin / vertical.tiles, p = row.begin % vertical.tiles;
    return {dy + s_.output_pixel(n, vertical.start(p), 0),
            vertical.size(p) * s_.out_width * s_.out_channels};
}

}  // namespace alexnet::cpu::winograd
