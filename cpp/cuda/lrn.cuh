// What kernels of LRN share: the powers, and sums over windows of channels in the registers of a
// warp.
//
// A warp holds a tile of whole pixels, as runs of neighbouring channels: run r of the tile, counted
// through its pixels, is in lane r % 32, as the lane's run number r / 32. What a window needs of
// other lanes comes by shuffles, an element of all lanes at a time.

#ifndef ALEXNET_CUDA_LRN_CUH_
#define ALEXNET_CUDA_LRN_CUH_

#include <cfloat>
#include <type_traits>

#include "alexnet/lrn.h"
#include "launch.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

// --- s^-beta --------------------------------------------------------------------------------------

struct AnyRoot {
    static __device__ __forceinline__ float root(float s) { return rsqrtf(s); }  // s^-1/2
};
// Of s that is not denormal, to the same bits by one instruction instead of four.
struct NormalRoot {
    static __device__ __forceinline__ float root(float s) { return rsqrt_approximate(s); }
};

template <class Root>
struct ThreeQuarters : Root {
    static __device__ __forceinline__ float of(float s, float) {
        const float root = Root::root(s);
        return root * sqrt_approximate(root);
    }
};

struct Half : AnyRoot {
    static __device__ __forceinline__ float of(float s, float) { return root(s); }
};

// Of an s that may be negative as well, of which roots are NaN where it is infinite.
struct Any {
    static __device__ __forceinline__ float of(float s, float beta) { return powf(s, -beta); }
};

// What the gradient is made of: dy·s^-beta and dy·x·s^(-beta-1).
struct LrnTerms {
    float direct, cross_term;
};

template <class Power>
__device__ __forceinline__ LrnTerms lrn_terms(float dy, float x, float s, float beta) {
    const float direct = dy * Power::of(s, beta);
    // x/s first: s^(-beta-1) by itself would underflow much earlier.
    if constexpr (std::is_same_v<Power, Any>) {
        // Of a negative beta, s^-beta may be infinite or 0 where s^(-beta-1) is the other.
        if (beta < 0) return {direct, dy * (x * Any::of(s, beta + 1))};
        return {direct, direct * (x / s)};
    } else {
        const float root = Power::root(s);  // s is not negative
        return {direct, direct * (x * root * root)};
    }
}

// --- windows in registers -------------------------------------------------------------------------

// Number of the warp in the grid, where threadIdx.x alone counts threads. It comes from lane 0, so
// that the compiler knows it to be the same in all lanes: what depends on it needs no code for lanes
// that went different ways, of which shuffles have much. To be called by all lanes.
__device__ __forceinline__ size_t warp_of_grid() {
    const unsigned warp = __shfl_sync(kAllLanes, threadIdx.x / kWarp, 0);
    return size_t{blockIdx.x} * (blockDim.x / kWarp) + warp;
}

// How tiles are cut, for pixels of `runs` runs.
struct LrnTiling {
    int runs, pixels;
    int reciprocal;  // of runs, in units of 2^-16

    // With `lane_runs` runs in a lane, of which a pixel may take all. As many pixels as leave the
    // fewest lanes idle in the runs that are used at all.
    LrnTiling(size_t runs_, int lane_runs)
        : runs(static_cast<int>(runs_)), pixels(1), reciprocal((65535 + runs) / runs) {
        for (int n = 2; n * runs <= lane_runs * kWarp; ++n) {
            if (used(n) >= used(pixels)) pixels = n;
        }
    }

    // The share of lanes that have a run, with n pixels.
    double used(int n) const {
        const int lanes = (n * runs + kWarp - 1) / kWarp * kWarp;
        return static_cast<double>(n * runs) / lanes;
    }
};

// Where in the tile a lane's runs are.
template <int lane_runs>
struct LrnLane {
    int number;
    int pixel[lane_runs];  // of the tile; beyond it where the lane is idle
    int run[lane_runs];    // of the pixel

    __device__ __forceinline__ explicit LrnLane(const LrnTiling& tiling)
        : number(static_cast<int>(threadIdx.x) % kWarp) {
#pragma unroll
        for (int i = 0; i < lane_runs; ++i) {
            const int index = i * kWarp + number;
            pixel[i] = index * tiling.reciprocal >> 16;  // exact for fewer than 256 runs
            run[i] = index - pixel[i] * tiling.runs;
        }
    }
};

// Sums of `own` over the windows around the channels of the lane's run i, in the order of
// window_sum; `own` holds all runs of the tile. To be called by all lanes.
template <int radius, int width, int lane_runs>
__device__ __forceinline__ Floats<width> window_sums(const Floats<width> (&own)[lane_runs], int i,
                                                     const LrnLane<lane_runs>& lane, int runs) {
    constexpr int kReach = (radius + width - 1) / width;  // runs
    float near[width + 2 * radius];
#pragma unroll
    for (int j = -radius; j < width + radius; ++j) {
        const int away = (j + kReach * width) / width - kReach;  // runs
        const int element = j - away * width;
        float value = own[i].at[element];
        if (away != 0) {
            // Lanes whose neighbour on the other side of the warp has a later run, or an earlier.
            const bool crosses = away < 0 ? lane.number >= kWarp + away : lane.number < away;
            const int later = away < 0 ? i - 1 : i + 1;
            const bool exists = 0 <= later && later < lane_runs;
            const float across = exists ? own[exists ? later : i].at[element] : 0.0f;
            value = __shfl_sync(kAllLanes, crosses ? across : value,
                                (lane.number + away) & (kWarp - 1));
            const int run = lane.run[i] + away;
            if (run < 0 || run >= runs) value = 0;  // of another pixel
        }
        near[radius + j] = value;
    }
    constexpr int kWindow = 2 * radius + 1, kNear = width + 2 * radius;
    float pairs[kNear - 1], fours[kNear - 3];
#pragma unroll
    for (int c = 0; c < kNear - 1; ++c) pairs[c] = near[c] + near[c + 1];
#pragma unroll
    for (int c = 0; c < kNear - 3; ++c) fours[c] = pairs[c] + pairs[c + 2];
    Floats<width> sums;
#pragma unroll
    for (int c = 0; c < width; ++c) {
        int next = c;
        float sum = fours[next];
        next += 4;
        if constexpr (kWindow >= 8) {
            sum += fours[next];
            next += 4;
        }
        if constexpr (kWindow & 2) {
            sum += pairs[next];
            next += 2;
        }
        sums.at[c] = sum + near[next];
    }
    return sums;
}

// y of all runs of the tile, of which the first `used` hold pixels.
template <int radius, int width, int lane_runs>
__device__ __forceinline__ void lrn_values(const Floats<width> (&x)[lane_runs],
                                           const LrnLane<lane_runs>& lane, const LrnTiling& tiling,
                                           int used, const LrnParameters& k,
                                           Floats<width> (&y)[lane_runs]) {
    Floats<width> squares[lane_runs];
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
#pragma unroll
        for (int c = 0; c < width; ++c) squares[i].at[c] = x[i].at[c] * x[i].at[c];
    }
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        if (i * kWarp >= used) continue;  // so in all lanes
        const auto sums = window_sums<radius>(squares, i, lane, tiling.runs);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            const float s = fmaf(k.alpha, sums.at[c], k.bias);
            y[i].at[c] = x[i].at[c] * ThreeQuarters<NormalRoot>::of(s, k.beta);
        }
    }
}

// dx in the place of dy.
template <int radius, int width, int lane_runs>
__device__ __forceinline__ void lrn_gradients(const Floats<width> (&x)[lane_runs],
                                              const LrnLane<lane_runs>& lane,
                                              const LrnTiling& tiling, int used,
                                              const LrnParameters& k, bool through_relu,
                                              Floats<width> (&gradients)[lane_runs]) {
    Floats<width> squares[lane_runs], cross[lane_runs];
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
#pragma unroll
        for (int c = 0; c < width; ++c) squares[i].at[c] = x[i].at[c] * x[i].at[c];
    }
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        cross[i] = Floats<width>::of(0);
        if (i * kWarp >= used) continue;
        const auto sums = window_sums<radius>(squares, i, lane, tiling.runs);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            const float s = fmaf(k.alpha, sums.at[c], k.bias);
            const LrnTerms terms =
                lrn_terms<ThreeQuarters<NormalRoot>>(gradients[i].at[c], x[i].at[c], s, k.beta);
            gradients[i].at[c] = terms.direct;
            cross[i].at[c] = terms.cross_term;
        }
    }
    const float factor = 2 * k.alpha * k.beta;
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        if (i * kWarp >= used) continue;
        const auto sums = window_sums<radius>(cross, i, lane, tiling.runs);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            const float gradient = fmaf(-x[i].at[c], factor * sums.at[c], gradients[i].at[c]);
            gradients[i].at[c] = !through_relu || x[i].at[c] > 0 ? gradient : 0.0f;
        }
    }
}

// --- the kernels that keep pixels in shared memory: any channels, radius and beta -----------------

template <class T>
void lrn_in_shared_memory(size_t pixels, size_t channels, const LrnParameters& parameters,
                          const T* x, T* y, Stream stream);
template <class T>
void lrn_backward_in_shared_memory(size_t pixels, size_t channels, const LrnParameters& parameters,
                                   const T* dy, const T* x, bool through_relu, T* dx,
                                   Stream stream);

// Calls body(std::integral_constant<int, radius>) for the radii that networks have, if registers
// can hold LRN's windows, and s is never denormal; false otherwise.
template <class Body>
bool with_lrn_radius(const LrnParameters& k, const Body& body) {
    if (k.beta != 0.75f || !(k.bias >= FLT_MIN && k.alpha >= 0)) return false;
    switch (k.depth_radius) {
        case 2:
            body(std::integral_constant<int, 2>());
            return true;
        case 4:
            body(std::integral_constant<int, 4>());
            return true;
        case 5:
            body(std::integral_constant<int, 5>());
            return true;
        default:
            return false;
    }
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_LRN_CUH_
