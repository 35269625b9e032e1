// What the rungs of Winograd's algorithm share: the tile of rung 3, and the transforms.

#ifndef ALEXNET_STUDY_WINOGRAD_H_
#define ALEXNET_STUDY_WINOGRAD_H_

#include "study.h"
#include "winograd_matrices.h"

constexpr size_t kRows = 6;
constexpr size_t kVectors = kLanes == 16 ? 4 : 2;  // 24 sums of 32 registers, or 12 of 16
constexpr size_t kColumns = kVectors * kLanes;

// out = vertical . in . horizontal^T, with a vector for each element; the compiler knows both
// matrices (winograd_matrices.h), and leaves out what is 0.
template <typename Vertical, typename Horizontal = Vertical>
ALEXNET_INLINE void transform(const Vec* in, Vec* out) {
    constexpr size_t kWidth = Horizontal::kColumns;
    Vec half[Vertical::kRows][kWidth];
#pragma GCC unroll 8
    for (size_t i = 0; i < Vertical::kRows; ++i) {
#pragma GCC unroll 8
        for (size_t j = 0; j < kWidth; ++j) {
            half[i][j] = zero();
#pragma GCC unroll 8
            for (size_t k = 0; k < Vertical::kColumns; ++k) {
                const auto a = static_cast<float>(Vertical::kMatrix.at[i][k]);
                if (a != 0) half[i][j] = fma(broadcast(a), in[k * kWidth + j], half[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < Vertical::kRows; ++i) {
#pragma GCC unroll 8
        for (size_t j = 0; j < Horizontal::kRows; ++j) {
            Vec sum = zero();
#pragma GCC unroll 8
            for (size_t k = 0; k < kWidth; ++k) {
                const auto a = static_cast<float>(Horizontal::kMatrix.at[j][k]);
                if (a != 0) sum = fma(broadcast(a), half[i][k], sum);
            }
            out[i * Horizontal::kRows + j] = sum;
        }
    }
}

// C[rows x columns] = A[rows x depth] . B, of which B is a packed panel.
template <size_t rows>
static void tile(size_t depth, const float* a, size_t a_row, const float* b, float* c, size_t c_row,
                 size_t columns) {
    Vec sum[rows][kVectors];
    for (auto& row : sum) {
        for (Vec& v : row) v = zero();
    }
    for (size_t k = 0; k < depth; ++k, b += kColumns) {
        Vec w[kVectors];
        for (size_t v = 0; v < kVectors; ++v) w[v] = load(b + v * kLanes);
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; ++i) {
            const Vec value = broadcast(a[i * a_row + k]);
#pragma GCC unroll 8
            for (size_t v = 0; v < kVectors; ++v) sum[i][v] = fma(value, w[v], sum[i][v]);
        }
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t v = 0; v * kLanes < columns; ++v) {
            store_upto(c + i * c_row + v * kLanes, sum[i][v], columns - v * kLanes);
        }
    }
}

// C = A . B for all rows of A, `depth` floats each with a_row between them, and a panel of B.
[[maybe_unused]] static void multiply(size_t rows, size_t depth, const float* a, size_t a_row,
                                      const float* b, float* c, size_t c_row) {
    size_t i = 0;
    for (; i + kRows <= rows; i += kRows) {
        tile<kRows>(depth, a + i * a_row, a_row, b, c + i * c_row, c_row, kColumns);
    }
    for (; i < rows; ++i) tile<1>(depth, a + i * a_row, a_row, b, c + i * c_row, c_row, kColumns);
}

#endif  // ALEXNET_STUDY_WINOGRAD_H_
