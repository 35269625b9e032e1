// The one-dimensional steps of Winograd's transforms: the matrices of winograd_matrices.h applied
// to the columns of a grid of vectors, then to its rows.
//
//     in: pointers, row by row        temporary, 4 KiB in L1          out: pointers, row by row
//
//     in[0] in[1] in[2]               columns_step                    rows_step
//     in[3] in[4] in[5]    column j: load, matrix · x, store    row i: load, matrix · x, store
//     in[6] in[7] in[8]    ----------------------------->       ----------------------------->
//
// Each pointer is to the channels of one point or value; a step works on one vector of them. The
// outputs Y and the gradient of the weights are always written by non-temporal stores where whole
// vectors are, U and dM where the caller asks for it; a stream_fence must follow.
//
// Cost: about n/2 FMAs a value and pass: (n_rows + n_columns)/2 · n² of them for a tile of n points
// along each axis.

#include "winograd_matrices.h"

namespace alexnet::ALEXNET_ISA {

// Floats from what is written to what is prefetched for later stores.
constexpr size_t kStorePrefetchDistance = 48;

template <typename M>
constexpr bool kIsFromPoints = M::kKind == WinogradMatrix::kFromPoints;

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

// y = matrix · x on vectors, for Bᵀ, A and G: the rows of a and -a share their sums.
template <typename M>
ALEXNET_INLINE void apply_by_rows(const Vec* x, Vec* y) {
#pragma GCC unroll 8
    for (size_t i = 0; i < M::kRows; ++i) {
        const size_t j = kNegative[i];
        if (!mirrored(M::kMatrix, M::kRows, i, j, false)) {
            y[i] = dot<M>(i, 0, 1, x);
        } else if (i < j) {
            const Vec even = dot<M>(i, 0, 2, x), odd = dot<M>(i, 1, 2, x);
            y[i] = add(even, odd);
            y[j] = sub(even, odd);
        }
    }
}

// The same for Aᵀ and Gᵀ, whose columns of a and -a differ in the signs of odd rows: x of the two
// points is added beforehand for even rows, and subtracted for odd ones.
template <typename M>
ALEXNET_INLINE void apply_by_columns(const Vec* x, Vec* y) {
    Vec sum[M::kColumns], difference[M::kColumns];
#pragma GCC unroll 8
    for (size_t k = 0; k < M::kColumns; ++k) {
        const size_t j = kNegative[k];
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
            const size_t j = kNegative[k];
            if (a == 0 || (mirrored(M::kMatrix, M::kColumns, k, j, true) && k > j)) continue;
            v = add_term(first, v, a, i % 2 == 0 ? sum[k] : difference[k]);
            first = false;
        }
        y[i] = v;
    }
}

template <typename M>
ALEXNET_INLINE void apply(const Vec* x, Vec* y) {
    if constexpr (kIsFromPoints<M>) {
        apply_by_columns<M>(x, y);
    } else {
        apply_by_rows<M>(x, y);
    }
}

// First pass: the matrix times every column. Up to 64 pointers are into as many pages, more than
// the hardware's prefetchers follow, so what the next calls read is prefetched here.
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
        for (size_t i = 0; i < M::kRows; ++i) {
            store(temporary + (i * kMostPoints + j) * kLanes, y[i]);
        }
    }
}

// Second pass: every row times the matrix, with bias and ReLU for outputs. Returns whether all
// values before the ReLU are finite; looked at for outputs and gradients of weights only.
template <typename M, bool full, bool stream>
ALEXNET_INLINE bool transform_rows(size_t rows, const float* temporary, float* const* out,
                                   size_t offset, size_t lanes, Vec bias, Vec floor) {
    Vec zeros = zero();  // sum of 0 · y, which is NaN where a y is not finite
    for (size_t i = 0; i < rows; ++i) {
        Vec x[M::kColumns], y[M::kRows];
#pragma GCC unroll 8
        for (size_t k = 0; k < M::kColumns; ++k) {
            x[k] = load(temporary + (i * kMostPoints + k) * kLanes);
        }
        apply<M>(x, y);
#pragma GCC unroll 8
        for (size_t j = 0; j < M::kRows; ++j) {
            Vec v = y[j];
            if (kIsFromPoints<M>) {
                v = add(v, bias);
                zeros = fma(v, zero(), zeros);
                v = at_least(floor, v);
            }
            float* p = out[i * M::kRows + j] + offset;
            if (!stream) __builtin_prefetch(p + kStorePrefetchDistance, 1);
            if (!full) {
                store_tail(p, v, lanes);
            } else if (stream) {
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
                      size_t lanes, const float* bias, bool relu, bool stream) {
    const Vec b = bias ? load_tail(bias + offset, lanes) : zero();
    const Vec floor = relu ? zero() : broadcast(-__builtin_inff());
    if (lanes < kLanes) {
        return transform_rows<M, false, kIsFromPoints<M>>(rows, temporary, out, offset, lanes, b,
                                                          floor);
    }
    if (!kIsFromPoints<M> && !stream) {
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
            return step<InputMatrix<n>>();
        case WinogradMatrix::kToPoints:
            return with_values<n, Evaluation>(values);
        case WinogradMatrix::kFromPoints:
            return with_values<n, TransposedEvaluation>(values);
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
