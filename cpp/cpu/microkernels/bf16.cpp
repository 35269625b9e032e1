// Products of bfloat16 operands without instructions for them: both are widened to float32, where
// their product is exact, and added by FMA. Also: rounding to bfloat16.

#include "simd_bf16.h"

namespace alexnet::ALEXNET_ISA {

static void round(size_t n, const float* x, uint16_t* y) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store_bf16(y + i, load(x + i));
    if (i < n) store_bf16_upto(y + i, load_tail(x + i, n - i), n - i);
}

// Pairs of elements are copied as floats are. A run of at least a vector ends with one that
// overlaps the one before: a mask would take longer.
static void copy_runs(size_t runs, size_t n, const uint16_t* x, size_t x_step, uint16_t* y,
                      size_t y_step) {
    constexpr size_t kElements = 2 * kLanes;
    const auto copy_vector = [](const uint16_t* from, uint16_t* to) {
        store(reinterpret_cast<float*>(to), load(reinterpret_cast<const float*>(from)));
    };
    for (size_t run = 0; run < runs; ++run, x += x_step, y += y_step) {
        if (n < kElements) {
            for (size_t i = 0; i < n; ++i) y[i] = x[i];
            continue;
        }
        for (size_t i = 0; i + kElements <= n; i += kElements) copy_vector(x + i, y + i);
        copy_vector(x + n - kElements, y + n - kElements);
    }
}

constexpr size_t kVectors = 2;
#if defined(ALEXNET_ISA_AVX512)
constexpr size_t kSums = 16, kMostRows = 8;
#else
constexpr size_t kSums = 8, kMostRows = 4;
#endif

// From a vector of weights to the next: in the same half of the panel, or in the other.
constexpr size_t kVectorStep = kLanes < kBf16HalfColumns ? 2 * kLanes : kBf16Half;

// kRows rows of a tile, from first_row on, by all columns of the panel. Few rows have several sums for each element, so
// that additions need not wait for each other.
template <size_t kRows>
static void multiply_rows(const Bf16Block& block, const Bf16Tile& tile, size_t first_row) {
    constexpr size_t kChains = kSums / (kRows * kVectors);
    for (size_t column = 0; column < block.columns; column += kVectors * kLanes) {
        Vec sum[kChains][kRows][kVectors];
#pragma GCC unroll 8
        for (size_t chain = 0; chain < kChains; ++chain) {
#pragma GCC unroll 8
            for (size_t i = 0; i < kRows; ++i) {
                for (size_t j = 0; j < kVectors; ++j) sum[chain][i][j] = zero();
            }
        }
        const uint16_t* b =
            block.b + column / kBf16HalfColumns * kBf16Half + column % kBf16HalfColumns * 2;
        for (size_t s = 0; s < block.steps; ++s) {
            const Bf16Operand a = operand(block, tile, s);
            const uint16_t* from = a.a + first_row * a.row;
            for (size_t k = 0; k < kBf16Depth; k += 2 * kChains) {
#pragma GCC unroll 8
                for (size_t chain = 0; chain < kChains; ++chain) {
                    Vec first[kVectors], second[kVectors];
                    for (size_t j = 0; j < kVectors; ++j) {
                        first[j] = widen_first(b + j * kVectorStep);
                        second[j] = widen_second(b + j * kVectorStep);
                    }
#pragma GCC unroll 8
                    for (size_t i = 0; i < kRows; ++i) {
                        const uint32_t pair = load_pair(from + i * a.row + k + 2 * chain);
                        const Vec x = broadcast(widen_first(pair));
                        const Vec y = broadcast(widen_second(pair));
                        for (size_t j = 0; j < kVectors; ++j) {
                            Vec& each = sum[chain][i][j];
                            each = fma(y, second[j], fma(x, first[j], each));
                        }
                    }
                    b += 2 * kBf16HalfColumns;
                }
            }
            b += kBf16Half;
        }
#pragma GCC unroll 8
        for (size_t i = 0; i < kRows; ++i) {
            for (size_t j = 0; j < kVectors; ++j) {
#pragma GCC unroll 8
                for (size_t chain = 1; chain < kChains; ++chain) {
                    sum[0][i][j] = add(sum[0][i][j], sum[chain][i][j]);
                }
                store_sums(block, tile, first_row + i, column + j * kLanes, sum[0][i][j]);
            }
        }
    }
}

void multiply_widening(const Bf16Block& block) {
    for (size_t t = 0; t < block.tile_count; ++t) {
        const Bf16Tile& tile = block.tiles[t];
        for (size_t i = 0; i < block.rows;) {
            const size_t rest = block.rows - i;
            if (rest >= kMostRows) {
                multiply_rows<kMostRows>(block, tile, i);
                i += kMostRows;
            } else if (rest >= 4) {
                multiply_rows<4>(block, tile, i);
                i += 4;
            } else if (rest >= 2) {
                multiply_rows<2>(block, tile, i);
                i += 2;
            } else {
                multiply_rows<1>(block, tile, i);
                i += 1;
            }
        }
    }
}

extern const Bf16Kernels bf16_kernels;
const Bf16Kernels bf16_kernels = {
    .widening = multiply_widening,
#if defined(ALEXNET_BF16_INSTRUCTIONS)
    .dot = multiply_dot,
    .tile = multiply_tile,
#else
    .dot = nullptr,
    .tile = nullptr,
#endif
    .round = round,
    .copy_runs = copy_runs,
    .max_pool2d_row = max_pool2d_bf16_row,
};

}  // namespace alexnet::ALEXNET_ISA
