// LRN across channels, and its gradient.
//   s[p,c] = bias + alpha · Σ x[p,c']²,  |c'-c| <= radius        y = x · s^-beta
//   dx[p,c] = direct[p,c] - 2·alpha·beta · x[p,c] · Σ cross_term[p,c'],  |c'-c| <= radius
//       with direct = dy·s^-beta and cross_term = dy·x·s^(-beta-1)
// Shapes: all arrays (pixels, channels), contiguous. In place is not allowed.
// Kept for backward: nothing; s is computed from x again.
//
// Here are the kernels for beta 0.75, radius 2, 4 or 5, a bias that is not denormal,
// alpha from 0 on, and a number of channels, at most 512, that 16 bytes divide; lrn_shared.cu has
// every other case, to the same bits.
// Warps: each owns a tile of whole pixels, 16 floats of it a lane (24 of 16 bits where that leaves
//   fewer lanes idle), read and written 16 bytes at a time (lrn.cuh); windows come by shuffles. Each
//   array passes global memory once; no barriers.
// Cost: 2·radius shuffles a run of 16 bytes, backward twice as many. Instructions of sm_90 an
//   element with radius 4: forward 28 against 8 bytes, backward 57 against 12; of 16 bits 22 against
//   4 and 42 against 6: memory-bound, the last by little.
// Numerics: float32 between reading and writing; windows are summed anew for every channel, eight
//   neighbours at a time as a tree, then four, two and one, to which neighbours' sums of two and four
//   are common. s^-3/4 takes rsqrtf (2 ulp) and an approximate square root (2 ulp).

#include "lrn.cuh"
#include "packed.cuh"

namespace alexnet::cuda {
namespace {

constexpr unsigned kThreads = 128;  // of a block

template <class T, int radius, int lane_runs>
__global__ void __launch_bounds__(kThreads)
    forward(size_t pixels, LrnTiling tiling, LrnParameters k, const T* __restrict__ x, T* y) {
    constexpr int kWidth = kVector<T>;
    const size_t first = warp_of_grid() * tiling.pixels;
    if (first >= pixels) return;
    const int here = static_cast<int>(min(size_t(tiling.pixels), pixels - first));
    const LrnLane<lane_runs> lane(tiling);
    const size_t at = first * tiling.runs * kWidth + lane.number * kWidth;
    Words<16> loaded[lane_runs] = {};
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        if (lane.pixel[i] < here) loaded[i] = load_words(x + at + i * kWarp * kWidth);
    }
    Floats<kWidth> values[lane_runs], results[lane_runs];
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) values[i] = to_floats<T>(loaded[i]);
    lrn_values<radius>(values, lane, tiling, here * tiling.runs, k, results);
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        if (lane.pixel[i] < here) store_floats(y + at + i * kWarp * kWidth, results[i]);
    }
}

template <class T, int radius, int lane_runs>
__global__ void __launch_bounds__(kThreads)
    backward(size_t pixels, LrnTiling tiling, LrnParameters k, const T* __restrict__ dy,
             const T* __restrict__ x, bool through_relu, T* dx) {
    constexpr int kWidth = kVector<T>;
    const size_t first = warp_of_grid() * tiling.pixels;
    if (first >= pixels) return;
    const int here = static_cast<int>(min(size_t(tiling.pixels), pixels - first));
    const LrnLane<lane_runs> lane(tiling);
    const size_t at = first * tiling.runs * kWidth + lane.number * kWidth;
    Words<16> loaded_x[lane_runs] = {}, loaded_dy[lane_runs] = {};
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        if (lane.pixel[i] < here) {
            loaded_x[i] = load_words(x + at + i * kWarp * kWidth);
            loaded_dy[i] = load_words(dy + at + i * kWarp * kWidth);
        }
    }
    Floats<kWidth> values[lane_runs], gradients[lane_runs];
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        values[i] = to_floats<T>(loaded_x[i]);
        gradients[i] = to_floats<T>(loaded_dy[i]);
    }
    lrn_gradients<radius>(values, lane, tiling, here * tiling.runs, k, through_relu, gradients);
#pragma unroll
    for (int i = 0; i < lane_runs; ++i) {
        if (lane.pixel[i] < here) store_floats(dx + at + i * kWarp * kWidth, gradients[i]);
    }
}

// Calls body(radius, runs a lane, the tiling) if there are kernels; whether there are.
template <class T, class Body>
bool with_kernels(size_t channels, const LrnParameters& k, bool fits, const Body& body) {
    constexpr int kRuns = 4 * kVector<float> / kVector<T>;  // 16 floats
    if (!fits || channels > size_t{kWarp} * kRuns * kVector<T>) return false;
    const size_t runs = channels / kVector<T>;
    const LrnTiling tiling(runs, kRuns);
    return with_lrn_radius(k, [&](auto radius) {
        if constexpr (sizeof(T) == 2) {
            const LrnTiling larger(runs, kRuns + 1);
            if (larger.used(larger.pixels) > tiling.used(tiling.pixels)) {
                body(radius, std::integral_constant<int, kRuns + 1>(), larger);
                return;
            }
        }
        body(radius, std::integral_constant<int, kRuns>(), tiling);
    });
}

unsigned blocks(size_t pixels, const LrnTiling& tiling) {
    constexpr size_t kWarps = kThreads / kWarp;
    const size_t tiles = (pixels + tiling.pixels - 1) / tiling.pixels;
    return static_cast<unsigned>((tiles + kWarps - 1) / kWarps);
}

}  // namespace

template <class T>
void lrn(size_t pixels, size_t channels, const LrnParameters& k, const T* x, T* y, Stream stream) {
    const bool fits = fits_vectors(channels, x, y);
    const bool is_known =
        with_kernels<T>(channels, k, fits, [&](auto radius, auto runs, const LrnTiling& tiling) {
            launch("lrn", forward<T, radius, runs>, blocks(pixels, tiling), kThreads, 0, stream,
                   pixels, tiling, k, x, y);
        });
    if (!is_known) lrn_in_shared_memory(pixels, channels, k, x, y, stream);
}

template <class T>
void lrn_backward(size_t pixels, size_t channels, const LrnParameters& k, const T* dy, const T* x,
                  bool through_relu, T* dx, Stream stream) {
    const bool fits = fits_vectors(channels, dy, x, dx);
    const bool is_known =
        with_kernels<T>(channels, k, fits, [&](auto radius, auto runs, const LrnTiling& tiling) {
            launch("lrn_backward", backward<T, radius, runs>, blocks(pixels, tiling), kThreads, 0,
                   stream, pixels, tiling, k, dy, x, through_relu, dx);
        });
    if (!is_known) {
        lrn_backward_in_shared_memory(pixels, channels, k, dy, x, through_relu, dx, stream);
    }
}

#define ALEXNET_INSTANTIATE(T)                                                                     \
    template void lrn(size_t, size_t, const LrnParameters&, const T*, T*, Stream);                 \
    template void lrn_backward(size_t, size_t, const LrnParameters&, const T*, const T*, bool, T*, \
                               Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
