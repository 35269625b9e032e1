// What kernels of max pooling share: the shape, and maxima with their positions.
//
// The position of a maximum is the number of its pixel in the window, in row-major order; with the
// highest bit set where the maximum is not positive, so that a gradient through a ReLU in front
// need not read what was pooled. It takes a byte where a window has at most 128 pixels.

#ifndef ALEXNET_CUDA_MAX_POOL2D_CUH_
#define ALEXNET_CUDA_MAX_POOL2D_CUH_

#include "alexnet/max_pool2d.h"
#include "launch.cuh"
#include "packed.cuh"

namespace alexnet::cuda {

// The shape in the integers of the device: extents fit 31 bits.
struct Pool {
    int in_height, in_width, out_height, out_width;
    int window_height, window_width, stride_height, stride_width, pad_top, pad_left;
    int channels;
    size_t batch;
};

Pool pool_on_device(const Pool2dShape& shape);  // std::length_error beyond 31 bits

// Blocks for `rows` rows, of all images together, of `threads` threads each; the kernels stride over
// rows that are too many for a grid.
inline dim3 pool_grid(size_t threads, size_t rows) {
    constexpr size_t kMostRows = 65535;
    return dim3(blocks_for(threads), static_cast<unsigned>(std::min(rows, kMostRows)));
}

// --- maxima ---------------------------------------------------------------------------------------

template <class Position>
constexpr Position kNotPositive = Position{1} << (8 * sizeof(Position) - 1);

// Whether `later` takes the place of `best`: NaN is greater than every number, and among equals the
// first stays.
__device__ __forceinline__ bool replaces(float later, float best) {
    return best == best && !(later <= best);
}

// The greater of two numbers, by the same order; of -0 and 0 it is 0.
__device__ __forceinline__ float greater(float a, float b) {
    return __uint_as_float(maxima<float>(__float_as_uint(a), __float_as_uint(b)));
}

// The first maxima of what was seen, and where: column, or pixel.
template <int width, class Place = int>
struct Maxima {
    float value[width];
    Place at[width];

    // Of nothing, at `first`, the first place that counts: what is seen later at it is no less.
    static __device__ __forceinline__ Maxima of_nothing(Place first) {
        Maxima result;
#pragma unroll
        for (int c = 0; c < width; ++c) {
            result.value[c] = -INFINITY;
            result.at[c] = first;
        }
        return result;
    }
    static __device__ __forceinline__ Maxima of_first(const Floats<width>& values, Place place) {
        Maxima result;
#pragma unroll
        for (int c = 0; c < width; ++c) {
            result.value[c] = values.at[c];
            result.at[c] = place;
        }
        return result;
    }
    __device__ __forceinline__ void see(const Floats<width>& values, Place place) {
#pragma unroll
        for (int c = 0; c < width; ++c) see_one(c, values.at[c], place);
    }
    // Those of a row, whose columns are counted from `first` in the window.
    __device__ __forceinline__ Maxima counted_from(int first) const {
        Maxima result = *this;
#pragma unroll
        for (Place& place : result.at) place += first;
        return result;
    }
    __device__ __forceinline__ void see_row(const Maxima& row, int first) {
#pragma unroll
        for (int c = 0; c < width; ++c) see_one(c, row.value[c], first + row.at[c]);
    }
    __device__ __forceinline__ void see_one(int c, float later, Place place) {
        if (replaces(later, value[c])) at[c] = place;
        value[c] = greater(later, value[c]);
    }
    __device__ __forceinline__ Floats<width> values() const {
        Floats<width> result;
#pragma unroll
        for (int c = 0; c < width; ++c) result.at[c] = value[c];
        return result;
    }
};

// --- positions in memory --------------------------------------------------------------------------

// Of neighbouring channels, read and written at once.
template <class Position, int width>
struct alignas(sizeof(Position) * width) Positions {
    Position at[width];

    static __device__ __forceinline__ Positions load(const Position* p) {
        return *reinterpret_cast<const Positions*>(p);
    }
    __device__ __forceinline__ void store(Position* p) const {
        *reinterpret_cast<Positions*>(p) = *this;
    }
};

template <class Position, int width, class Place>
__device__ __forceinline__ void store_positions(Position* p, const Maxima<width, Place>& maxima) {
    Positions<Position, width> result;
#pragma unroll
    for (int c = 0; c < width; ++c) {
        const Position sign = maxima.value[c] > 0 ? 0 : kNotPositive<Position>;
        result.at[c] = static_cast<Position>(maxima.at[c]) | sign;
    }
    result.store(p);
}

// --- any windows (max_pool2d_any.cu) --------------------------------------------------------------

template <class T>
void max_pool2d_any(const Pool2dShape& shape, const T* x, T* y, void* positions, Stream stream);
template <class T>
void max_pool2d_backward_any(const Pool2dShape& shape, const T* dy, const void* positions,
                             bool through_relu, T* dx, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_MAX_POOL2D_CUH_
