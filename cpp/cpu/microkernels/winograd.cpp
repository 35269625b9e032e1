// The transforms of Winograd convolution (Lavin & Gray, arXiv 1509.09308), for windows of r × r and
// tiles of m × m outputs, from one list of interpolation points.
//
// In one dimension, m outputs of a correlation with r taps follow from n = m + r - 1 products:
//
//     y = Aᵀ · ((G · g) ⊙ (Bᵀ · d))      d: n inputs, g: r taps, ⊙: element by element
//
//     G[i][k] = aᵢ^k     A[i][k] = aᵢ^k     Bᵀ = (Vᵀ)⁻¹, V[i][k] = aᵢ^k, k < n
//
// with the points a₀ = ∞ (whose powers are 0, ..., 0, 1), a₁, a₂, ...: row i of Bᵀ holds the
// coefficients of the Lagrange polynomial of aᵢ. All scale factors are in Bᵀ, so G is the same for
// every m: one set of transformed weights serves tiles of all sizes, which use its first n rows and
// columns. Two dimensions apply a matrix to the columns, then to the rows. The gradient with
// respect to the weights needs the transposes: dg = Gᵀ · ((A · dy) ⊙ (Bᵀ · d)).
//
// The points 0, ±1, ½, -2, 2, -½ are in the order that keeps the error of every prefix small; their
// powers are exact in float32. Eight points are the most that float32 bears (speed of growth:
// relative L2 error about 5e-6 for n = 8, 2e-6 for n = 6).
//
// A transform reads and writes one vector of channels at each of the rows × columns places that its
// pointer tables name; it works through both passes in registers and a 4 KiB buffer in L1. What it
// brings from points to values may be written past the caches: a stream_fence must follow.
// Cost: about n/2 FMAs a place and pass: (n_rows + n_columns)/2 · n² of them for a tile.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr size_t kMost = kWinogradPoints;  // points, infinity included
constexpr size_t kStorePrefetchDistance =
    48;  // floats from what is written to what is fetched for it
constexpr double kFinite[kMost - 1] = {0, 1, -1, 0.5, -2, 2, -0.5};

constexpr double power(double a, size_t k) {
    double p = 1;
    for (size_t i = 0; i < k; ++i) p *= a;
    return p;
}

// Row i, column k of the Vandermonde matrix with `columns` columns: aᵢ^k.
constexpr double vandermonde(size_t i, size_t k, size_t columns) {
    return i == 0 ? (k + 1 == columns ? 1.0 : 0.0) : power(kFinite[i - 1], k);
}

struct Matrix {
    double at[kMost][kMost] = {};
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
                m.at[i][k] = m.at[i][k - 1] - kFinite[j - 1] * m.at[i][k];
            }
            m.at[i][0] *= -kFinite[j - 1];
            if (i > 0) norm *= kFinite[i - 1] - kFinite[j - 1];
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

// The matrices by what they transform: kRows × kColumns.
template <size_t n>
struct Input {
    static constexpr bool kToPoints = true;
    static constexpr size_t kRows = n, kColumns = n;
    static constexpr Matrix kMatrix = input_matrix(n);
};
template <size_t n, size_t m>
struct Spread {  // A, G: m values to n points
    static constexpr bool kToPoints = true;
    static constexpr size_t kRows = n, kColumns = m;
    static constexpr Matrix kMatrix = vandermonde_matrix(n, m, false);
};
template <size_t n, size_t m>
struct Gather {  // Aᵀ, Gᵀ: n points to m values
    static constexpr bool kToPoints = false;
    static constexpr size_t kRows = m, kColumns = n;
    static constexpr Matrix kMatrix = vandermonde_matrix(n, m, true);
};

// Where the point -a stands for the point a at i; i itself where there is none.
constexpr size_t kMirror[kMost] = {0, 1, 3, 2, 7, 6, 5, 4};

// Whether line j of a matrix is line i with the sign of every second coefficient flipped, so that
// their sums over even and over odd coefficients serve both. Lines are rows, or columns.
constexpr bool mirrored(const Matrix& m, size_t lines, size_t i, size_t j, bool columns) {
    if (i == j || i >= lines || j >= lines) return false;
    for (size_t k = 0; k < kMost; ++k) {
        const double a = columns ? m.at[k][i] : m.at[i][k];
        const double b = columns ? m.at[k][j] : m.at[j][k];
        if (b != (k % 2 == 0 ? a : -a)) return false;
    }
    return true;
}

// sum + a·x, where `first` says that there is no sum yet; a is known at compile time.
ALEXNET_INLINE Vec add_term(bool first, Vec sum, double a, Vec x) {
    if (first) return a == 1 ? x : mul(broadcast(static_cast<float>(a)), x);
    if (a == 1) return add(sum, x);
    if (a == -1) return sub(sum, x);
    return fma(broadcast(static_cast<float>(a)), x, sum);
}

// Sum of the coefficients of row i times x, over every `step`-th k from `begin` on.
template <typename M>
ALEXNET_INLINE Vec dot(size_t i, size_t begin, size_t step, const Vec* x) {
    Vec sum = zero();
    bool first = true;
#pragma GCC unroll 8
    for (size_t k = begin; k < M::kColumns; k += step) {
        const double a = M::kMatrix.at[i][k];
        if (a == 0) continue;
        sum = add_term(first, sum, a, x[k]);
        first = false;
    }
    return sum;
}

// y = matrix · x on vectors, for matrices that bring values to points: the rows of a and -a share
// their sums.
template <typename M>
ALEXNET_INLINE void apply_by_rows(const Vec* x, Vec* y) {
#pragma GCC unroll 8
    for (size_t i = 0; i < M::kRows; ++i) {
        const size_t j = kMirror[i];
        if (!mirrored(M::kMatrix, M::kRows, i, j, false)) {
            y[i] = dot<M>(i, 0, 1, x);
        } else if (i < j) {
            const Vec even = dot<M>(i, 0, 2, x), odd = dot<M>(i, 1, 2, x);
            y[i] = add(even, odd);
            y[j] = sub(even, odd);
        }
    }
}

// The same for matrices that bring points to values: the columns of a and -a are added, for even
// rows, and subtracted, for odd ones, beforehand.
template <typename M>
ALEXNET_INLINE void apply_by_columns(const Vec* x, Vec* y) {
    Vec sum[M::kColumns], difference[M::kColumns];
#pragma GCC unroll 8
    for (size_t k = 0; k < M::kColumns; ++k) {
        const size_t j = kMirror[k];
        const bool pair = mirrored(M::kMatrix, M::kColumns, k, j, true);
        sum[k] = pair ? (k < j ? add(x[k], x[j]) : zero()) : x[k];
        difference[k] = pair ? (k < j ? sub(x[k], x[j]) : zero()) : x[k];
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < M::kRows; ++i) {
        Vec v = zero();
        bool first = true;
#pragma GCC unroll 8
        for (size_t k = 0; k < M::kColumns; ++k) {
            const double a = M::kMatrix.at[i][k];
            const size_t j = kMirror[k];
            if (a == 0 || (mirrored(M::kMatrix, M::kColumns, k, j, true) && k > j)) continue;
            v = add_term(first, v, a, i % 2 == 0 ? sum[k] : difference[k]);
            first = false;
        }
        y[i] = v;
    }
}

template <typename M>
ALEXNET_INLINE void apply(const Vec* x, Vec* y) {
    if constexpr (M::kToPoints) {
        apply_by_rows<M>(x, y);
    } else {
        apply_by_columns<M>(x, y);
    }
}

// First pass: the matrix times the columns of a grid of `columns` columns of places. Up to 64
// places lie in as many pages, more than the hardware's own prefetching follows: fetch what is read
// next.
template <typename M, bool full>
ALEXNET_INLINE void transform_columns(size_t columns, const float* const* in, size_t offset,
                                      size_t lanes, size_t prefetch_distance, float* temporary) {
    for (size_t j = 0; j < columns; ++j) {
        Vec x[M::kColumns], y[M::kRows];
#pragma GCC unroll 8
        for (size_t k = 0; k < M::kColumns; ++k) {
            const float* p = in[k * columns + j] + offset;
            x[k] = full ? load(p) : load_tail(p, lanes);
            __builtin_prefetch(p + prefetch_distance);
        }
        apply<M>(x, y);
#pragma GCC unroll 8
        for (size_t i = 0; i < M::kRows; ++i) store(temporary + (i * kMost + j) * kLanes, y[i]);
    }
}

// Second pass: the rows of the grid times the matrix, and out to their places.
template <typename M, bool full, bool past>
ALEXNET_INLINE bool transform_rows(size_t rows, const float* temporary, float* const* out,
                                   size_t offset, size_t lanes, Vec bias, Vec floor) {
    Vec zeros = zero();  // sum of 0 · y, which is NaN where a y isn't finite
    for (size_t i = 0; i < rows; ++i) {
        Vec x[M::kColumns], y[M::kRows];
#pragma GCC unroll 8
        for (size_t k = 0; k < M::kColumns; ++k) x[k] = load(temporary + (i * kMost + k) * kLanes);
        apply<M>(x, y);
#pragma GCC unroll 8
        for (size_t j = 0; j < M::kRows; ++j) {
            Vec v = y[j];
            if (!M::kToPoints) {
                v = add(v, bias);
                zeros = fma(v, zero(), zeros);
                v = at_least(floor, v);
            }
            float* p = out[i * M::kRows + j] + offset;
            if (!past) __builtin_prefetch(p + kStorePrefetchDistance, 1);
            if (!full) {
                store_tail(p, v, lanes);
            } else if (past) {
                stream_lines(p, v);
            } else {
                store(p, v);
            }
        }
    }
    return !any(is_nan(zeros, zeros));
}

template <typename M>
static void columns_step(size_t columns, const float* const* in, size_t offset, size_t lanes,
                         size_t prefetch_distance, float* temporary) {
    if (lanes == kLanes) {
        transform_columns<M, true>(columns, in, offset, lanes, prefetch_distance, temporary);
    } else {
        transform_columns<M, false>(columns, in, offset, lanes, prefetch_distance, temporary);
    }
}

template <typename M>
static bool rows_step(size_t rows, const float* temporary, float* const* out, size_t offset,
                      size_t lanes, const float* bias, bool relu, bool past) {
    const Vec b = bias ? load_tail(bias + offset, lanes) : zero();
    const Vec floor = relu ? zero() : broadcast(-__builtin_inff());
    if (lanes < kLanes) {
        return transform_rows<M, false, !M::kToPoints>(rows, temporary, out, offset, lanes, b,
                                                       floor);
    }
    if (M::kToPoints && !past) {
        return transform_rows<M, true, false>(rows, temporary, out, offset, lanes, b, floor);
    }
    return transform_rows<M, true, true>(rows, temporary, out, offset, lanes, b, floor);
}

template <typename M>
static constexpr WinogradStep step() {
    return {M::kRows, M::kColumns, columns_step<M>, rows_step<M>};
}

template <size_t n, template <size_t, size_t> class M>
static WinogradStep with_values(size_t values) {
    switch (values) {
        case 1:
            return step<M<n, 1>>();
        case 2:
            if constexpr (n >= 2) return step<M<n, 2>>();
            break;
        case 3:
            if constexpr (n >= 3) return step<M<n, 3>>();
            break;
        case 4:
            if constexpr (n >= 4) return step<M<n, 4>>();
            break;
        case 5:
            if constexpr (n >= 5) return step<M<n, 5>>();
            break;
        case 6:
            if constexpr (n >= 6) return step<M<n, 6>>();
            break;
    }
    return {};
}

template <size_t n>
static WinogradStep with_points(WinogradMatrix matrix, size_t values) {
    switch (matrix) {
        case WinogradMatrix::kInput:
            return step<Input<n>>();
        case WinogradMatrix::kToPoints:
            return with_values<n, Spread>(values);
        case WinogradMatrix::kFromPoints:
            return with_values<n, Gather>(values);
    }
    return {};
}

WinogradStep winograd_step(WinogradMatrix matrix, size_t points, size_t values) {
    switch (points) {
        case 2:
            return with_points<2>(matrix, values);
        case 3:
            return with_points<3>(matrix, values);
        case 4:
            return with_points<4>(matrix, values);
        case 5:
            return with_points<5>(matrix, values);
        case 6:
            return with_points<6>(matrix, values);
        case 7:
            return with_points<7>(matrix, values);
        case 8:
            return with_points<8>(matrix, values);
    }
    return {};
}

}  // namespace alexnet::ALEXNET_ISA
