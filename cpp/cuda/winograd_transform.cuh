// The transforms of Winograd's algorithm for one tile and one channel, in a thread's registers.
//
//   input            d  -> V  = Bᵀ · d · B        Input<points>
//   output           M  -> Y  = Aᵀ · M · A        FromPoints<outputs, points>
//   output gradient  dY -> dM = A · dY · Aᵀ       ToPoints<points, outputs>
//   weight           g  -> U  = G · g · Gᵀ        ToPoints<points, window>
//   weight gradient  dU -> dg = Gᵀ · dU · G       FromPoints<window, points>
//
// with points = outputs + window - 1 (cpu/microkernels/winograd_points.h). A matrix is known at compile
// time: its zeros cost nothing.
//
// Cost: at most (rows + columns) · rows · columns FMAs a tile, half of that with the zeros; 8 points
//   keep 64 values and 16 more in registers. Bound: memory.
// Numerics: FMAs in order of the columns.

#ifndef ALEXNET_CUDA_WINOGRAD_TRANSFORM_CUH_
#define ALEXNET_CUDA_WINOGRAD_TRANSFORM_CUH_

#include "../cpu/microkernels/winograd_points.h"
#include "device.cuh"

namespace alexnet::cuda {

template <int points>
struct Input {
    static constexpr int kRows = points, kColumns = points;
    static constexpr winograd::Matrix kMatrix = winograd::input_matrix(points);
};
template <int points, int values>
struct ToPoints {
    static constexpr int kRows = points, kColumns = values;
    static constexpr winograd::Matrix kMatrix = winograd::vandermonde_matrix(points, values, false);
};
template <int values, int points>
struct FromPoints {
    static constexpr int kRows = values, kColumns = points;
    static constexpr winograd::Matrix kMatrix = winograd::vandermonde_matrix(points, values, true);
};

// y = matrix · x.
template <class M>
__device__ __forceinline__ void apply(const float (&x)[M::kColumns], float (&y)[M::kRows]) {
    constexpr winograd::Matrix matrix = M::kMatrix;
#pragma unroll
    for (int i = 0; i < M::kRows; ++i) {
        bool first = true;
        y[i] = 0;
#pragma unroll
        for (int k = 0; k < M::kColumns; ++k) {
            const auto a = static_cast<float>(matrix.at[i][k]);
            if (a == 0) continue;
            y[i] = first ? a * x[k] : fmaf(a, x[k], y[i]);
            first = false;
        }
    }
}

// matrix · x · matrixᵀ, from load(i, j) to store(i, j, value).
template <class M, class Load, class Store>
__device__ __forceinline__ void transform_tile(Load load, Store store) {
    float columns[M::kColumns][M::kRows];
#pragma unroll
    for (int j = 0; j < M::kColumns; ++j) {
        float x[M::kColumns];
#pragma unroll
        for (int i = 0; i < M::kColumns; ++i) x[i] = load(i, j);
        apply<M>(x, columns[j]);
    }
#pragma unroll
    for (int i = 0; i < M::kRows; ++i) {
        float x[M::kColumns], y[M::kRows];
#pragma unroll
        for (int j = 0; j < M::kColumns; ++j) x[j] = columns[j][i];
        apply<M>(x, y);
#pragma unroll
        for (int j = 0; j < M::kRows; ++j) store(i, j, y[j]);
    }
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_WINOGRAD_TRANSFORM_CUH_
