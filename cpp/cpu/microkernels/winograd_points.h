// The matrices of Winograd convolution (Lavin and Gray, arXiv 1509.09308) for tiles of m outputs
// and windows of r taps along an axis, from one list of interpolation points.
//
// m outputs of a correlation with r taps follow from n = m + r - 1 products, one a point:
//
//     y = Aᵀ · ((G · g) ⊙ (Bᵀ · d))      d: n inputs, g: r taps, ⊙: element by element
//
// The Vandermonde matrix of the points a₀ = ∞ (whose powers are 0, ..., 0, 1), a₁, a₂, ... has aᵢ^k
// in row i, column k. With c columns it evaluates a polynomial of c coefficients at the points:
//
//          k = 0  1  2 ..                        n × n: inverted and transposed it is Bᵀ, whose
//     ∞        0  0  0 .. 1       r columns: G   rows are the coefficients of the Lagrange
//     0        1  0  0 .. 0       m columns: A   polynomials of the points
//     1        1  1  1 .. 1
//    -1        1 -1  1 ..         rows of a and -a differ in the signs of every second column:
//     ½        1  ½  ¼ ..         their sums over even and odd k serve both ("mirrored" below)
//     ..
//
// All scale factors are in Bᵀ, so that G is the same for every m: one set of transformed weights U
// serves tiles of all sizes, which use its first n rows and columns.
//
// The points 0, ±1, ½, -2, 2, -½ are in the order that keeps the error of every prefix small; their
// powers are exact in float32. Eight points are the most that float32 bears: the relative L2 error
// is about 2e-6 with 6 points and 5e-6 with 8.

#ifndef ALEXNET_CPU_MICROKERNELS_WINOGRAD_POINTS_H_
#define ALEXNET_CPU_MICROKERNELS_WINOGRAD_POINTS_H_

#include <cstddef>

namespace alexnet::winograd {

constexpr size_t kMostPoints = 8;  // infinity included
constexpr double kFinitePoints[kMostPoints - 1] = {0, 1, -1, 0.5, -2, 2, -0.5};

constexpr double power(double a, size_t k) {
    double p = 1;
    for (size_t i = 0; i < k; ++i) p *= a;
    return p;
}

// Row i, column k of the Vandermonde matrix with `columns` columns: aᵢ^k.
constexpr double vandermonde(size_t i, size_t k, size_t columns) {
    return i == 0 ? (k + 1 == columns ? 1.0 : 0.0) : power(kFinitePoints[i - 1], k);
}

struct Matrix {
    double at[kMostPoints][kMostPoints] = {};
};

// Bᵀ for n points: the coefficients of the Lagrange polynomials of the finite points, and for
// infinity those of their product, the polynomial that vanishes on all of them.
constexpr Matrix input_matrix(size_t n) {
    Matrix m{};
    for (size_t i = 0; i < n; ++i) {
        m.at[i][0] = 1;
        double norm = 1;
        size_t degree = 0;
        for (size_t j = 1; j < n; ++j) {
            if (j == i) continue;
            ++degree;  // times (x - aⱼ)
            for (size_t k = degree; k > 0; --k) {
                m.at[i][k] = m.at[i][k - 1] - kFinitePoints[j - 1] * m.at[i][k];
            }
            m.at[i][0] *= -kFinitePoints[j - 1];
            if (i > 0) norm *= kFinitePoints[i - 1] - kFinitePoints[j - 1];
        }
        for (size_t k = 0; k < n; ++k) m.at[i][k] /= norm;
    }
    return m;
}

constexpr Matrix vandermonde_matrix(size_t n, size_t columns, bool transposed) {
    Matrix m{};
    for (size_t i = 0; i < n; ++i) {
        for (size_t k = 0; k < columns; ++k) {
            (transposed ? m.at[k][i] : m.at[i][k]) = vandermonde(i, k, columns);
        }
    }
    return m;
}

}  // namespace alexnet::winograd

#endif  // ALEXNET_CPU_MICROKERNELS_WINOGRAD_POINTS_H_
