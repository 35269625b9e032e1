// LRN across channels, and its gradient.
//   s[p,c] = bias + alpha · Σ x[p,c']²,  |c'-c| <= radius        y = x · s^-beta
//   dx[p,c] = direct[p,c] - 2·alpha·beta · x[p,c] · Σ cross_term[p,c'],  |c'-c| <= radius
//       with direct = dy·s^-beta and cross_term = dy·x·s^(-beta-1)
// Shapes: all arrays (pixels, channels), contiguous. In place is not allowed.
// Kept for backward: nothing; s is computed from x again.
//
// Here are the kernels for beta 0.75, radius 2, 4 or 5, and a number of channels, at most 512, that
// 16 bytes divide; lrn_shared.cu has every other case, to the same bits.
// Warps: each owns a tile of whole pixels, 16 floats of it a lane, read and written 16 bytes at a
//   time (lrn.cuh); windows come by shuffles. Each array passes global memory once; no barriers.
// Cost: forward 2·radius shuffles a run of 16 bytes and about 2·radius + 15 instructions an element
//   against 8 bytes; backward twice as much against 12: memory-bound.
// Numerics: float32 between reading and writing; windows are summed anew for every channel, in
//   ascending order. s^-3/4 takes rsqrtf (2 ulp) and an approximate square root (2 ulp).

#include "lrn.cuh"

namespace alexnet::cuda {
namespace {

template <class T>
constexpr int kRuns = 4 * kVector<float> / kVector<T>;  // of a lane: 16 floats

template <class T, int radius>
__global__ void __launch_bounds__(kBlockThreads)
    forward(size_t pixels, LrnTiling tiling, LrnParameters k, const T* __restrict__ x, T* y) {
    constexpr int kWidth = kVector<T>;
    const size_t first = warp_of_grid() * tiling.pixels;
    if (first >= pixels) return;
    const int here = static_cast<int>(min(size_t(tiling.pixels), pixels - first));
    const LrnLane<kRuns<T>> lane(tiling);
    const size_t at = first * tiling.runs * kWidth + lane.number * kWidth;
    Floats<kWidth> values[kRuns<T>], results[kRuns<T>];
#pragma unroll
    for (int i = 0; i < kRuns<T>; ++i) {
        values[i] = lane.pixel[i] < here ? load_floats<kWidth>(x + at + i * kWarp * kWidth)
                                         : Floats<kWidth>::of(0);
    }
    lrn_values<radius>(values, lane, tiling, here * tiling.runs, k, results);
#pragma unroll
    for (int i = 0; i < kRuns<T>; ++i) {
        if (lane.pixel[i] < here) store_floats(y + at + i * kWarp * kWidth, results[i]);
    }
}

template <class T, int radius>
__global__ void __launch_bounds__(kBlockThreads)
    backward(size_t pixels, LrnTiling tiling, LrnParameters k, const T* __restrict__ dy,
             const T* __restrict__ x, bool through_relu, T* dx) {
    constexpr int kWidth = kVector<T>;
    const size_t first = warp_of_grid() * tiling.pixels;
    if (first >= pixels) return;
    const int here = static_cast<int>(min(size_t(tiling.pixels), pixels - first));
    const LrnLane<kRuns<T>> lane(tiling);
    const size_t at = first * tiling.runs * kWidth + lane.number * kWidth;
    Floats<kWidth> values[kRuns<T>], gradients[kRuns<T>];
#pragma unroll
    for (int i = 0; i < kRuns<T>; ++i) {
        const bool has = lane.pixel[i] < here;
        const size_t run = at + i * kWarp * kWidth;
        values[i] = has ? load_floats<kWidth>(x + run) : Floats<kWidth>::of(0);
        gradients[i] = has ? load_floats<kWidth>(dy + run) : Floats<kWidth>::of(0);
    }
    lrn_gradients<radius>(values, lane, tiling, here * tiling.runs, k, through_relu, gradients);
#pragma unroll
    for (int i = 0; i < kRuns<T>; ++i) {
        if (lane.pixel[i] < here) store_floats(dx + at + i * kWarp * kWidth, gradients[i]);
    }
}

template <class T>
bool fits_registers(size_t channels) {
    return channels <= size_t{kWarp} * kRuns<T> * kVector<T>;
}

unsigned blocks(size_t pixels, const LrnTiling& tiling) {
    return blocks_for((pixels + tiling.pixels - 1) / tiling.pixels * kWarp);
}

}  // namespace

template <class T>
void lrn(size_t pixels, size_t channels, const LrnParameters& k, const T* x, T* y, Stream stream) {
    const auto in_registers = [&](auto radius) {
        const LrnTiling tiling(channels / kVector<T>, kRuns<T>);
        launch("lrn", forward<T, radius>, blocks(pixels, tiling), kBlockThreads, 0, stream, pixels,
               tiling, k, x, y);
    };
    if (fits_vectors(channels, x, y) && fits_registers<T>(channels) &&
        with_lrn_radius(k, in_registers)) {
        return;
    }
    lrn_in_shared_memory(pixels, channels, k, x, y, stream);
}

template <class T>
void lrn_backward(size_t pixels, size_t channels, const LrnParameters& k, const T* dy, const T* x,
                  bool through_relu, T* dx, Stream stream) {
    const auto in_registers = [&](auto radius) {
        const LrnTiling tiling(channels / kVector<T>, kRuns<T>);
        launch("lrn_backward", backward<T, radius>, blocks(pixels, tiling), kBlockThreads, 0,
               stream, pixels, tiling, k, dy, x, through_relu, dx);
    };
    if (fits_vectors(channels, dy, x, dx) && fits_registers<T>(channels) &&
        with_lrn_radius(k, in_registers)) {
        return;
    }
    lrn_backward_in_shared_memory(pixels, channels, k, dy, x, through_relu, dx, stream);
}

#define ALEXNET_INSTANTIATE(T)                                                                     \
    template void lrn(size_t, size_t, const LrnParameters&, const T*, T*, Stream);                 \
    template void lrn_backward(size_t, size_t, const LrnParameters&, const T*, const T*, bool, T*, \
                               Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
