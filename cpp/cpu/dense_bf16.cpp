// Dense layer on bfloat16 operands: y = x · W + b, W packed into panels of 32 columns (bf16.h).
//
// Cost: 2 · in · out bytes of weights through memory, once; below a batch of some hundred nothing
// else counts. Each task reads panels from front to back, for all images of the batch.
//
// Threads: each task owns a panel. Numerics: docs/kernels/bfloat16.md.

#include "bf16.h"
#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kMostTiles = 64;        // of images that are multiplied with a panel at a time
constexpr size_t kWorthATask = 1 << 18;  // multiply-adds

Bf16Panels panels_of(const DenseShape& s) { return {s.in_features, s.out_features}; }

}  // namespace

Size packed_dense_bf16_size(const DenseShape& s) { return panels_of(s).size(); }

void pack_dense_bf16(const DenseShape& s, const Bf16Input& weight, uint16_t* packed) {
    const KernelTable& k = kernels();
    const Bf16Panels panels = panels_of(s);
    const size_t panel_size = panels.panel_size();
    const auto row_of = [&](size_t row) { return row < s.in_features ? row : SIZE_MAX; };
    parallel_for(panels.count, ceil_div(kWorthATask, panel_size), [&](size_t begin, size_t end) {
        for (size_t p = begin; p < end; ++p) {
            pack_bf16_panel(k, panels, panels[p], weight, s.out_features, 0, row_of,
                            packed + p * panel_size);
        }
    });
}

void dense_bf16(const DenseShape& s, const Bf16Input& x, const uint16_t* packed, const float* bias,
                bool relu, const Bf16Output& y) {
    if (s.batch == 0) return;
    const KernelTable& k = kernels();
    const Bf16Multiply multiply = bf16_multiply();
    const Bf16Panels panels = panels_of(s);
    const size_t panel_size = panels.panel_size();
    const size_t row = panels.depth() + kBf16RowGap;
    uint16_t* rows = as_bf16(scratch(Slot::kPaddedImages, bf16_floats(Size{s.batch} * row)));
    parallel_for(s.batch, ceil_div(kWorthATask, row), [&](size_t begin, size_t end) {
        for (size_t b = begin; b < end; ++b) {
            copy_as_bf16(k, x, b * s.in_features, s.in_features, rows + b * row);
            std::fill(rows + b * row + s.in_features, rows + b * row + panels.depth(), uint16_t{0});
        }
    });
    std::vector<size_t> offsets(panels.steps);
    for (size_t step = 0; step < panels.steps; ++step) offsets[step] = step * kBf16Depth;
    size_t c_rows[kBf16Rows];
    for (size_t i = 0; i < kBf16Rows; ++i) c_rows[i] = i * s.out_features;
    const size_t grain = ceil_div(kWorthATask, panel_size * s.batch);
    parallel_for(panels.count, grain, [&](size_t begin, size_t end) {
        Bf16Tile tiles[kMostTiles];
        for (size_t p = begin; p < end; ++p) {
            const Range columns = panels[p];
            for (size_t first = 0; first < s.batch; first += kMostTiles * kBf16Rows) {
                const Bf16Tiling tiling(std::min(s.batch - first, kMostTiles * kBf16Rows));
                for (size_t t = 0; t < tiling.count; ++t) {
                    const size_t image = first + tiling[t];
                    tiles[t] = {.a = rows + image * row,
                                .rest = nullptr,
                                .c = image * s.out_features,
                                .c_rows = c_rows};
                }
                multiply({.rows = tiling.rows,
                          .a_row = row,
                          .offsets = offsets.data(),
                          .steps = panels.steps,
                          .in_place = panels.steps,
                          .b = packed + p * panel_size,
                          .columns = columns.size(),
                          .c = y.floats ? y.floats + columns.begin : nullptr,
                          .c_bits = y.bits ? y.bits + columns.begin : nullptr,
                          .bias = bias ? bias + columns.begin : nullptr,
                          .relu = relu,
                          .tiles = tiles,
                          .tile_count = tiling.count});
            }
        }
    });
}

}  // namespace alexnet::cpu
