// The parts of a dense layer that read its weights in place, in long runs of neighbouring floats.
// Shapes: w (rows, columns) or (rows, depth), rows w_row floats apart; x, y likewise; all f32.
//
// add_weighted_rows, for a few images: y[j] += sum over r of x[r] · w[r][j]. Packing the weights
// for the register tile of gemm.cpp would cost more than the product. y goes through registers once
// for eight rows.
//
// dot_rows, for the input's gradient: y[b][r] (+)= sum over k of w[r][k] · x[b][k]. Both operands
// are contiguous along the depth, so vectors run along it, and a register tile of some
// rows of w by some of x needs no packing. Each lane sums by itself, then the lanes are added.
//
// Cost: 2 FLOP a weight and image, and 4 bytes a weight: add_weighted_rows is memory-bound,
// dot_rows up to about 20 images. A step of its tile has 24 FMAs for 10 loads with AVX-512, 8 for 6
// elsewhere; adding lanes takes 16 instructions for four sums.
// Numerics: chains of FMAs in the order of the depth, in dot_rows one for each lane.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

template <size_t kRows>
ALEXNET_INLINE void add_block(size_t columns, const float* x, const float* w, size_t w_row,
                              float* y) {
    Vec scale[kRows];
    for (size_t r = 0; r < kRows; ++r) scale[r] = broadcast(x[r]);
    size_t j = 0;
    for (; j + kLanes <= columns; j += kLanes) {
        Vec sum = load(y + j);
        for (size_t r = 0; r < kRows; ++r) sum = fma(scale[r], load(w + r * w_row + j), sum);
        store(y + j, sum);
    }
    if (j < columns) {
        const size_t n = columns - j;
        Vec sum = load_tail(y + j, n);
        for (size_t r = 0; r < kRows; ++r) {
            sum = fma(scale[r], load_tail(w + r * w_row + j, n), sum);
        }
        store_tail(y + j, sum, n);
    }
}

void add_weighted_rows(size_t rows, size_t columns, const float* x, const float* w, size_t w_row,
                       float* y) {
    size_t r = 0;
    for (; r + 8 <= rows; r += 8) add_block<8>(columns, x + r, w + r * w_row, w_row, y);
    for (; r < rows; ++r) add_block<1>(columns, x + r, w + r * w_row, w_row, y);
}

constexpr size_t kWeightRows = 4;  // MR of a tile; NR is as many images as registers allow
#if defined(ALEXNET_ISA_AVX512)
constexpr size_t kImages = 6;
#else
constexpr size_t kImages = 2;
#endif

// One step along the depth: kLanes products or, with kTail, n.
template <size_t kRows, size_t kCount, bool kTail>
ALEXNET_INLINE void dot_step(const float* w, size_t w_row, const float* x, size_t x_row, size_t n,
                             Vec (&sum)[kRows][kCount]) {
    Vec image[kCount];
#pragma GCC unroll 8
    for (size_t b = 0; b < kCount; ++b) {
        image[b] = kTail ? load_tail(x + b * x_row, n) : load(x + b * x_row);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
        const Vec weight = kTail ? load_tail(w + r * w_row, n) : load(w + r * w_row);
#pragma GCC unroll 8
        for (size_t b = 0; b < kCount; ++b) sum[r][b] = fma(weight, image[b], sum[r][b]);
    }
}

// `next`: a row of the weights to prefetch into L2.
template <size_t kRows, size_t kCount>
static void dot_tile(size_t depth, const float* w, size_t w_row, const float* x, size_t x_row,
                     const float* next, bool accumulate, float* y, size_t y_row) {
    Vec sum[kRows][kCount];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (size_t b = 0; b < kCount; ++b) sum[r][b] = zero();
    }
    size_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
        __builtin_prefetch(next + k, 0, 2);
        dot_step<kRows, kCount, false>(w + k, w_row, x + k, x_row, 0, sum);
    }
    if (k < depth) dot_step<kRows, kCount, true>(w + k, w_row, x + k, x_row, depth - k, sum);
    float dots[kCount][4];
#pragma GCC unroll 8
    for (size_t b = 0; b < kCount; ++b) {
        // With one row as well: each sum has the same bits in every tile.
        reduce_add4(sum[0][b], sum[1 % kRows][b], sum[2 % kRows][b], sum[3 % kRows][b], dots[b]);
    }
    for (size_t b = 0; b < kCount; ++b) {
        float* const target = y + b * y_row;
        for (size_t r = 0; r < kRows; ++r) {
            const float dot = accumulate ? target[r] + dots[b][r] : dots[b][r];
            // Always the same NaN: which one comes through may differ from tile to tile.
            target[r] = dot == dot ? dot : __builtin_nanf("");
        }
    }
}

using DotTile = void (*)(size_t depth, const float* w, size_t w_row, const float* x, size_t x_row,
                         const float* next, bool accumulate, float* y, size_t y_row);

// By the number of images.
template <size_t kRows>
constexpr DotTile dot_tiles[] = {
    dot_tile<kRows, 1>, dot_tile<kRows, 2>,
#if defined(ALEXNET_ISA_AVX512)
    dot_tile<kRows, 3>, dot_tile<kRows, 4>, dot_tile<kRows, 5>, dot_tile<kRows, 6>,
#endif
};

template <size_t kRows>
static void dot_all_images(size_t depth, const float* w, size_t w_row, size_t images,
                           const float* x, size_t x_row, const float* next, bool accumulate,
                           float* y, size_t y_row) {
    const size_t tiles = (images + kImages - 1) / kImages;
    for (size_t t = 0; t < tiles; ++t) {
        const size_t begin = images * t / tiles, end = images * (t + 1) / tiles;
        // Each of the first tiles prefetches one of the rows that come next.
        const size_t row = t < kWeightRows ? t : kWeightRows - 1;
        const DotTile tile = dot_tiles<kRows>[end - begin - 1];
        tile(depth, w, w_row, x + begin * x_row, x_row, next + row * w_row, accumulate,
             y + begin * y_row, y_row);
    }
}

void dot_rows(size_t rows, size_t depth, const float* w, size_t w_row, size_t images,
              const float* x, size_t x_row, bool accumulate, float* y, size_t y_row) {
    size_t r = 0;
    for (; r + kWeightRows <= rows; r += kWeightRows) {
        const float* here = w + r * w_row;
        dot_all_images<kWeightRows>(depth, here, w_row, images, x, x_row,
                                    here + kWeightRows * w_row, accumulate, y + r, y_row);
    }
    for (; r < rows; ++r) {
        const float* here = w + r * w_row;
        dot_all_images<1>(depth, here, w_row, images, x, x_row, here, accumulate, y + r, y_row);
    }
}

}  // namespace alexnet::ALEXNET_ISA
