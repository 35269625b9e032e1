// The micro-kernels of bfloat16, as kernels.h has the others.
// Included by code of every instruction set: plain declarations only.

#ifndef ALEXNET_CPU_MICROKERNELS_BF16_KERNELS_H_
#define ALEXNET_CPU_MICROKERNELS_BF16_KERNELS_H_

#include "kernels.h"

namespace alexnet {

// Products of bfloat16 operands (bf16.cpp). The depth is cut into steps of kBf16Depth products, and
// the outputs into panels of kBf16Columns. A packed panel of B has for each step its two halves of
// columns; a half has for each pair of products the columns, each with its two weights. These are
// the tiles that AMX takes.
constexpr size_t kBf16Depth = 32;
constexpr size_t kBf16Columns = 32, kBf16HalfColumns = kBf16Columns / 2;
constexpr size_t kBf16Half = kBf16Depth * kBf16HalfColumns;  // elements
constexpr size_t kBf16Rows = 16;

// Some rows of A, `rows` of them, and where their sums go. The depth is a number of steps in place,
// whose operands are read where they are, and a rest, which was copied.
struct Bf16Tile {
    const uint16_t* a;     // in place: element k of step s of row i: a[i*a_row + offsets[s] + k]
    const uint16_t* rest;  // the other steps: rest[i*rest_row + offsets[s] + k]
    size_t c;              // where sums go: row i to c + c_rows[i],
    const size_t* c_rows;  // or nowhere, where that is kBf16NoRow
};
constexpr size_t kBf16NoRow = SIZE_MAX;

// Tiles that are multiplied with the same panel.
struct Bf16Block {
    size_t rows = 0, a_row = 0, rest_row = 0;  // of each tile; rows <= kBf16Rows
    const size_t* offsets = nullptr;
    size_t steps = 0, in_place = 0;  // the steps in place come first
    const uint16_t* b = nullptr;     // steps * 2 * kBf16Half elements
    const uint16_t* next = nullptr;  // the panel after it, which is brought nearer, or null
    size_t columns = 0;              // of the panel, that exist
    float* c = nullptr;              // null: the result is bfloat16, in c_bits
    uint16_t* c_bits = nullptr;
    const float* bias = nullptr;  // of the panel's columns, or null
    bool relu = false;
    const Bf16Tile* tiles = nullptr;
    size_t tile_count = 0;
};
using Bf16Multiply = void (*)(const Bf16Block& block);

struct Bf16Kernels {
    // Once for each kind of instructions; null where the compiler does not know them.
    Bf16Multiply widening;  // float32 FMAs
    Bf16Multiply dot;       // AVX512-BF16
    Bf16Multiply tile;      // AMX-BF16, and AVX512-BF16 for few rows

    void (*round)(size_t n, const float* x, uint16_t* y);
    // `runs` runs of n elements each, steps apart.
    void (*copy_runs)(size_t runs, size_t n, const uint16_t* x, size_t x_step, uint16_t* y,
                      size_t y_step);
    // max_pool2d_bf16.cpp
    void (*max_pool2d_row)(const PoolRow& row, const uint16_t* x, uint16_t* y);
};

}  // namespace alexnet

#endif  // ALEXNET_CPU_MICROKERNELS_BF16_KERNELS_H_
