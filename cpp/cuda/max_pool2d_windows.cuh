// Max pooling with windows of a size that is compiled: maxima of 16 bytes of neighbouring channels at
// once, and gradients by their positions. Numbers of 16 bits are compared two at a time (packed.cuh).

#ifndef ALEXNET_CUDA_MAX_POOL2D_WINDOWS_CUH_
#define ALEXNET_CUDA_MAX_POOL2D_WINDOWS_CUH_

#include "max_pool2d.cuh"

namespace alexnet::cuda {

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

// Pixels of a window that are outside of the image count as the nearest one inside, which changes
// neither the maximum nor its place: no case needs a code of its own.
__device__ __forceinline__ int inside(int position, int extent) {
    return min(max(position, 0), extent - 1);
}

// The first maxima of `n` candidates, of all numbers of 16 bytes; and the places of these, of which
// place(i, c) gives those of candidate i's word c, if they are to be `noted`.
template <class T>
struct PackedMaxima {
    Words<16> value, place;

    template <bool noted, int n, class Place>
    static __device__ __forceinline__ PackedMaxima of(const Words<16> (&candidates)[n],
                                                      const Place& place_of) {
        PackedMaxima result;
#pragma unroll
        for (int c = 0; c < kWords; ++c) {
            uint32_t value = candidates[0].at[c];
#pragma unroll
            for (int i = 1; i < n; ++i) value = maxima<T>(value, candidates[i].at[c]);
            result.value.at[c] = value;
            if constexpr (!noted) continue;
            uint32_t place = place_of(n - 1, c);
#pragma unroll
            for (int i = n - 2; i >= 0; --i) {
                // NaN is a maximum wherever it is, and equals nothing.
                const uint32_t own = candidates[i].at[c];
                const uint32_t is = are_equal<T>(own, value) | are_nan<T>(own);
                place = either(is, place_of(i, c), place);
            }
            result.place.at[c] = place;
        }
        return result;
    }

    __device__ __forceinline__ void store_positions(uint8_t* p) const {
        Words<16> positions;
#pragma unroll
        for (int c = 0; c < kWords; ++c) {
            const uint32_t sign = repeated<T>(kNotPositive<uint8_t>);
            positions.at[c] = place.at[c] | (~are_greater<T>(value.at[c], 0) & sign);
        }
        store_bytes<T>(p, bytes_of<T>(positions));
    }
};

// Steps along an axis in which all pixels of x lie, counted from the edge of the padding.
__host__ __device__ inline int pool_steps(int extent, int pad, int stride) {
    return (extent + pad + stride - 1) / stride;
}

// The gradients of the stride x stride pixels from which the step of a window goes to the next, from
// those of all windows that reach there: (before + 1)² of them.
template <class W, class T>
struct StepGradients {
    static constexpr int rows = W::before + 1, columns = W::before + 1;  // of windows
    static constexpr uint32_t kNoPlace = repeated<T>(0x7f);
    struct Window {
        Words<16> dy, place;
    };
    Window windows[rows][columns];  // `down` and `across` before the step's own
    size_t column[columns];         // of the windows, in elements of a row of dy
    uint32_t nowhere[columns];      // what makes it no place where there is no such window

    __device__ __forceinline__ void choose(const Pool& p, int across) {
#pragma unroll
        for (int j = 0; j < columns; ++j) {
            const int ow = across - j;
            column[j] = size_t(inside(ow, p.out_width)) * p.channels;
            nowhere[j] = 0 <= ow && ow < p.out_width ? 0 : kNoPlace;
        }
    }

    // The rows of windows from `oh` up, into the first `n` of `windows`: all loads are under way
    // at once. dy and positions are those of an image and the first of the channels; `through_relu`
    // leaves out maxima that are not positive.
    template <int n>
    __device__ __forceinline__ void load(const Pool& p, const T* dy, const uint8_t* positions,
                                         int oh, bool through_relu) {
        const uint32_t kept = repeated<T>(through_relu ? 0xff : 0x7f);
        Words<kVector<T>> bytes[n][columns];
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const int row = inside(oh - i, p.out_height);
            const size_t line = size_t(row) * (p.out_width * size_t(p.channels));
#pragma unroll
            for (int j = 0; j < columns; ++j) {
                windows[i][j].dy = load_words(dy + line + column[j]);
                bytes[i][j] = load_bytes<T>(positions + line + column[j]);
            }
        }
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const uint32_t no_row = 0 <= oh - i && oh - i < p.out_height ? 0 : kNoPlace;
#pragma unroll
            for (int j = 0; j < columns; ++j) {
                windows[i][j].place = from_bytes<T>(bytes[i][j]);
#pragma unroll
                for (uint32_t& place : windows[i][j].place.at) {
                    place = (place & kept) | no_row | nowhere[j];
                }
            }
        }
    }

    // What was loaded is that of the step below.
    __device__ __forceinline__ void go_down() {
#pragma unroll
        for (int i = rows - 1; i > 0; --i) {
#pragma unroll
            for (int j = 0; j < columns; ++j) windows[i][j] = windows[i - 1][j];
        }
    }

    // What the pixel (row, column) of the step gets: body(the gradients of a window, zero where the
    // pixel is no maximum) for those that reach there, in their order.
    template <class Body>
    __device__ __forceinline__ void for_windows(int row, int column, const Body& body) const {
#pragma unroll
        for (int i = W::before; i >= 0; --i) {
#pragma unroll
            for (int j = W::before; j >= 0; --j) {
                const int h = row + i * W::stride, w = column + j * W::stride;
                if (h >= W::window || w >= W::window) continue;
                const Window& window = windows[i][j];
                Words<16> gradients;
#pragma unroll
                for (int c = 0; c < kWords; ++c) {
                    const uint32_t own = repeated<T>(h * W::window + w);
                    gradients.at[c] = window.dy.at[c] & are_same<T>(window.place.at[c], own);
                }
                body(gradients);
            }
        }
    }

    __device__ __forceinline__ Floats<kVector<T>> of(int row, int column) const {
        Floats<kVector<T>> sum;
        bool is_first = true;
        for_windows(row, column, [&](const Words<16>& gradients) {
            const auto values = to_floats<T>(gradients);
#pragma unroll
            for (int c = 0; c < kVector<T>; ++c) {
                sum.at[c] = is_first ? values.at[c] : sum.at[c] + values.at[c];
            }
            is_first = false;
        });
        return sum;
    }
    // The same rounded, without a detour where there is a single window.
    __device__ __forceinline__ Words<16> rounded(int row, int column) const {
        Words<16> only;
        int count = 0;
        for_windows(row, column, [&](const Words<16>& gradients) {
            only = gradients;
            ++count;
        });
        return count == 1 ? only : to_words<T>(of(row, column));
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_MAX_POOL2D_WINDOWS_CUH_
