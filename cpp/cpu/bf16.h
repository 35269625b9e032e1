// What the drivers of bfloat16 products share: panels of packed weights, and rounded operands.

#ifndef ALEXNET_CPU_BF16_H_
#define ALEXNET_CPU_BF16_H_

#include "alexnet/bfloat16.h"
#include "gemm.h"
#include "microkernels/bf16_kernels.h"
#include "scratch.h"

namespace alexnet::cpu {

// Rows of a copied operand are this much longer than their depth: rows that are a multiple of 4 KiB
// apart would compete for the same few sets of the L1 cache.
constexpr size_t kBf16RowGap = kBf16Depth;

// The packed weights of one matrix (depth × columns): panels of kBf16Columns, in each the depth in
// whole steps, filled up with zeros (kernels.h).
struct Bf16Panels {
    Bf16Panels(size_t depth, size_t all_columns)
        : steps(ceil_div(depth, kBf16Depth)),
          count(ceil_div(all_columns, kBf16Columns)),
          columns(all_columns) {}
    Range operator[](size_t p) const {
        return {p * kBf16Columns, std::min((p + 1) * kBf16Columns, columns)};
    }
    size_t depth() const { return steps * kBf16Depth; }
    Size panel_size() const { return Size{steps} * (kBf16Depth * kBf16Columns); }
    Size size() const { return panel_size() * count; }

    size_t steps, count, columns;
};

// Row k of the matrix is weight[row_of(k) * weight_row + first ...]; where row_of gives SIZE_MAX, it
// is zeros.
template <typename RowOf>
void pack_bf16_panel(const KernelTable& k, const Bf16Panels& panels, Range columns,
                     const Bf16Input& weight, size_t weight_row, size_t first, const RowOf& row_of,
                     uint16_t* panel) {
    uint16_t pair[2][kBf16Columns] = {};
    for (size_t i = 0; i < panels.depth(); i += 2) {
        for (size_t half = 0; half < 2; ++half) {
            const size_t row = row_of(i + half);
            const size_t from = row * weight_row + first + columns.begin;
            if (row == SIZE_MAX) {
                std::fill_n(pair[half], kBf16Columns, uint16_t{0});
            } else if (weight.floats) {
                k.bf16->round(columns.size(), weight.floats + from, pair[half]);
            } else {
                std::copy_n(weight.bits + from, columns.size(), pair[half]);
            }
        }
        uint16_t* to = panel + i / kBf16Depth * (2 * kBf16Half) + i % kBf16Depth * kBf16HalfColumns;
        for (size_t half = 0; half < 2; ++half) {
            for (size_t j = 0; j < kBf16HalfColumns; ++j) {
                to[2 * j] = pair[0][half * kBf16HalfColumns + j];
                to[2 * j + 1] = pair[1][half * kBf16HalfColumns + j];
            }
            to += kBf16Half;
        }
    }
}

// n elements from `begin` on, rounded where they are float32.
inline void copy_as_bf16(const KernelTable& k, const Bf16Input& x, size_t begin, size_t n,
                         uint16_t* y) {
    if (x.floats) {
        k.bf16->round(n, x.floats + begin, y);
    } else {
        std::copy_n(x.bits + begin, n, y);
    }
}

// Working memory of `count` elements of 16 bits, in floats.
constexpr Size bf16_floats(Size count) { return padded(Size{(count + 1) / 2}); }
inline uint16_t* as_bf16(float* memory) { return reinterpret_cast<uint16_t*>(memory); }

// A run of rows in tiles, all of as many rows: the last begins earlier where it would be shorter,
// and computes rows of the one before it again. So runs belong to one task, and how they are cut
// does not depend on the number of threads.
struct Bf16Tiling {
    explicit Bf16Tiling(size_t all_rows)
        : count(ceil_div(all_rows, kBf16Rows)), rows(ceil_div(all_rows, count)), total(all_rows) {}
    size_t operator[](size_t tile) const { return std::min(tile * rows, total - rows); }

    size_t count, rows, total;
};

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_BF16_H_
