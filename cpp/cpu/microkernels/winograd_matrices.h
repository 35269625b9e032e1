// What the transforms of the micro-kernels are made of: the matrices of winograd_points.h, by what
// they transform, and pairs of their rows and columns that share sums.

#ifndef ALEXNET_CPU_MICROKERNELS_WINOGRAD_MATRICES_H_
#define ALEXNET_CPU_MICROKERNELS_WINOGRAD_MATRICES_H_

#include "kernels.h"
#include "simd.h"
#include "winograd_points.h"

namespace alexnet::ALEXNET_ISA {

using winograd::input_matrix;
using winograd::kMostPoints;
using winograd::Matrix;
using winograd::vandermonde_matrix;
static_assert(kMostPoints == kWinogradPoints);

// The matrices by what they transform: kRows × kColumns.
template <size_t n>
struct InputMatrix {  // Bᵀ
    static constexpr WinogradMatrix kKind = WinogradMatrix::kInput;
    static constexpr size_t kRows = n, kColumns = n;
    static constexpr Matrix kMatrix = input_matrix(n);
};
template <size_t n, size_t m>
struct Evaluation {  // A, G: m values to n points
    static constexpr WinogradMatrix kKind = WinogradMatrix::kToPoints;
    static constexpr size_t kRows = n, kColumns = m;
    static constexpr Matrix kMatrix = vandermonde_matrix(n, m, false);
};
template <size_t n, size_t m>
struct TransposedEvaluation {  // Aᵀ, Gᵀ: n points to m values
    static constexpr WinogradMatrix kKind = WinogradMatrix::kFromPoints;
    static constexpr size_t kRows = m, kColumns = n;
    static constexpr Matrix kMatrix = vandermonde_matrix(n, m, true);
};

// Index of the point -a where a is the point i; i itself where there is none.
constexpr size_t kNegative[kMostPoints] = {0, 1, 3, 2, 7, 6, 5, 4};

// Whether row j of a matrix, or column j, is row or column i with every second sign changed: then
// their sums over even and over odd coefficients serve both.
constexpr bool mirrored(const Matrix& m, size_t count, size_t i, size_t j, bool columns) {
    if (i == j || i >= count || j >= count) return false;
    for (size_t k = 0; k < kMostPoints; ++k) {
        const double a = columns ? m.at[k][i] : m.at[i][k];
        const double b = columns ? m.at[k][j] : m.at[j][k];
        if (b != (k % 2 == 0 ? a : -a)) return false;
    }
    return true;
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_WINOGRAD_MATRICES_H_
