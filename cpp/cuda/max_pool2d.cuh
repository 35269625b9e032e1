// What kernels of max pooling share: windows, maxima with their positions, and gradients by these.
//
// The position of a maximum is the number of its pixel in the window, in row-major order; with the
// highest bit set where the maximum is not positive, so that a gradient through a ReLU in front
// need not read what was pooled. It takes a byte where a window has at most 128 pixels.

#ifndef ALEXNET_CUDA_MAX_POOL2D_CUH_
#define ALEXNET_CUDA_MAX_POOL2D_CUH_

#include <type_traits>

#include "alexnet/max_pool2d.h"
#include "launch.cuh"
#include "storage.cuh"

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
    return later > best || (later != later && best == best);
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
    __device__ __forceinline__ void see(const Floats<width>& values, Place place) {
#pragma unroll
        for (int c = 0; c < width; ++c) {
            if (replaces(values.at[c], value[c])) {
                value[c] = values.at[c];
                at[c] = place;
            }
        }
    }
    // Those of a row, whose columns are counted from `first` in the window.
    __device__ __forceinline__ void see_row(const Maxima& row, int first) {
#pragma unroll
        for (int c = 0; c < width; ++c) {
            if (replaces(row.value[c], value[c])) {
                value[c] = row.value[c];
                at[c] = first + row.at[c];
            }
        }
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

// --- windows of a fixed size ----------------------------------------------------------------------

// The sizes that networks have are compiled: all loads of a row are under way at once, and a row
// that two windows share is read once by a thread.
template <int window_, int stride_>
struct Windows {
    static constexpr int window = window_, stride = stride_;
    static constexpr int shared = window > stride ? window - stride : 0;  // rows of two windows
    static constexpr int before =
        (window - 1) / stride;  // windows that reach past their first step
};

// Calls body(Windows<>()) for the shape's, if it is among them; false if not.
template <class Body>
bool with_windows(const Pool& p, const Body& body) {
    const auto is = [&](int window, int stride) {
        return p.window_height == window && p.window_width == window && p.stride_height == stride &&
               p.stride_width == stride;
    };
    if (is(3, 2)) {
        body(Windows<3, 2>());
    } else if (is(2, 2)) {
        body(Windows<2, 2>());
    } else {
        return false;
    }
    return true;
}

// Steps along an axis in which all pixels of x lie, counted from the edge of the padding.
__host__ __device__ inline int pool_steps(int extent, int pad, int stride) {
    return (extent + pad + stride - 1) / stride;
}

// The gradients of the stride x stride pixels from which the step of a window goes to the next, from
// those of all windows that reach there: (before + 1)² of them.
template <class W, int width>
struct StepGradients {
    Floats<width> dy[W::before + 1][W::before + 1];  // of the windows `down` and `across` before
    uint32_t at[W::before + 1][W::before + 1][width / 4];  // their positions, four a word

    // dy and positions are those of an image and the first of the channels; `through_relu` leaves
    // out maxima that are not positive.
    template <class T>
    __device__ __forceinline__ void load(const Pool& p, const T* dy_image, const uint8_t* positions,
                                         int down, int across, bool through_relu) {
#pragma unroll
        for (int i = 0; i <= W::before; ++i) {
#pragma unroll
            for (int j = 0; j <= W::before; ++j) {
                const int oh = down - i, ow = across - j;
                const bool is = 0 <= oh && oh < p.out_height && 0 <= ow && ow < p.out_width;
                const size_t window = (size_t(oh) * p.out_width + ow) * p.channels;
                dy[i][j] = is ? load_floats<width>(dy_image + window) : Floats<width>::of(0);
                load_positions(positions + window, is, through_relu, at[i][j]);
            }
        }
    }

    // Of the pixel (row, column) of the step, in the order of the windows.
    __device__ __forceinline__ Floats<width> of(int row, int column) const {
        auto sum = Floats<width>::of(0);
#pragma unroll
        for (int i = W::before; i >= 0; --i) {
#pragma unroll
            for (int j = W::before; j >= 0; --j) {
                const int h = row + i * W::stride, w = column + j * W::stride;
                if (h >= W::window || w >= W::window) continue;
#pragma unroll
                for (int c = 0; c < width; ++c) {
                    const uint32_t position = at[i][j][c / 4] >> c % 4 * 8 & 0xff;
                    if (position == static_cast<uint32_t>(h * W::window + w))
                        sum.at[c] += dy[i][j].at[c];
                }
            }
        }
        return sum;
    }

  private:
    static __device__ __forceinline__ void load_positions(const uint8_t* p, bool is,
                                                          bool through_relu,
                                                          uint32_t (&words)[width / 4]) {
        constexpr uint32_t kUnsigned = 0x7f7f7f7f;
        Words<width> loaded;
#pragma unroll
        for (uint32_t& word : loaded.at) word = kUnsigned;  // 127 is in none of these windows
        if (is) loaded = *reinterpret_cast<const Words<width>*>(p);
#pragma unroll
        for (int i = 0; i < width / 4; ++i) {
            words[i] = through_relu ? loaded.at[i] : loaded.at[i] & kUnsigned;
        }
    }
};

// --- any windows (max_pool2d_any.cu) --------------------------------------------------------------

template <class T>
void max_pool2d_any(const Pool2dShape& shape, const T* x, T* y, void* positions, Stream stream);
template <class T>
void max_pool2d_backward_any(const Pool2dShape& shape, const T* dy, const void* positions,
                             bool through_relu, T* dx, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_MAX_POOL2D_CUH_
