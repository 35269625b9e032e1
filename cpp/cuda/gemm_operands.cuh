// Where the elements of a product's operands and result lie in memory.
//
// tile_gemm.cuh computes C = A · B, (m, n) = (m, depth) · (depth, n), and copies both operands
// tile by tile. It calls the index that an operand shares with C its row (of A: a row of C; of B: a
// column of C) and the other one, which is summed over, the depth. An operand says
//
//   Row row(i), Depth depth(k)     what can be worked out from one index alone,
//   Depth step(n)                  what `advance` adds for the depth n further on,
//   advance(depth, step)           the same as depth(k + n), without a division,
//   bool exists(row, depth)        whether the element is in memory; if not it is zero,
//   const T* at(row, depth)        where; of an element that does not exist it may point anywhere,
//   kDepthContiguous               which of the two indices runs through neighbouring elements,
//   kThroughL1                     whether a block copies the same elements again and again,
//   select_group(g)                move on to group g of a convolution,
//   kEvenSteps                     whether depths lie evenly within each step of the main loop; where
//                                  they are not contiguous it then also has
//   Depth within_step(depth, n)    the depth n further on in the same step.
//
// A thread divides once, at its first depth; in the main loop it goes on by additions, with at most
// one carry from channel to tap, from tap to row of taps, and on (or from pixel to line to image).
//
// Convolutions are products without any im2col buffer, since `at` finds the pixel under the kernel:
//
//   y (pixels of y, out) = windows of x (pixels of y, taps · in) · weight (taps · in, out)
//   dx (pixels of x, in) = windows of dy (pixels of x, taps · out) · weight (taps · out, in)
//   dweight (taps · in, out) = windows of x (taps · in, pixels of y) · dy (pixels of y, out)
//
// Indices fit 31 bits (gemm_index in gemm_launch.cuh sees to it); addresses have 64.

#ifndef ALEXNET_CUDA_GEMM_OPERANDS_CUH_
#define ALEXNET_CUDA_GEMM_OPERANDS_CUH_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "device.cuh"

namespace alexnet::cuda {

// Division of n < 2^31 by an invariant d ≥ 1 as a multiplication: with 2^s ≥ d and
// M = ceil(2^(31+s) / d) = (2^(31+s) + e) / d, 0 ≤ e < d, n · M / 2^(31+s) exceeds n / d by
// n · e / (d · 2^(31+s)) < 1 / d: too little to reach the next integer. M < 2^32.
class Divisor {
  public:
    explicit Divisor(size_t d) : value_(static_cast<uint32_t>(d)), shift_(31) {
        while ((uint64_t{1} << (shift_ - 31)) < d) ++shift_;
        multiplier_ = static_cast<uint32_t>(((uint64_t{1} << shift_) + d - 1) / d);
    }
    __host__ __device__ uint32_t value() const { return value_; }
    __host__ __device__ int32_t as_int() const { return static_cast<int32_t>(value_); }
    __host__ __device__ uint32_t quotient(uint32_t n) const {
        return static_cast<uint32_t>(uint64_t{n} * multiplier_ >> shift_);
    }

  private:
    uint32_t value_, multiplier_, shift_;
};

// `count` runs of `bytes` after p: one multiplication of 32 by 32 bits, added to 64.
template <class T>
__device__ inline const T* after(const T* p, int32_t count, int32_t bytes) {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(p) + int64_t{count} * bytes);
}

// A matrix whose rows, or whose depths, are `stride_bytes` apart.
template <bool depth_contiguous, class T = float>
struct MatrixOperand {
    using Element = T;
    using Row = const T*;
    using Depth = int32_t;
    static constexpr bool kDepthContiguous = depth_contiguous, kEvenSteps = true;
    static constexpr bool kThroughL1 = false;

    const T* data;
    int32_t stride_bytes;
    size_t group_step;  // elements from one group to the next

    __device__ void select_group(uint32_t group) { data += group * group_step; }
    __device__ Row row(uint32_t i) const {
        return after(data, static_cast<int32_t>(i), depth_contiguous ? stride_bytes : sizeof(T));
    }
    __device__ Depth depth(uint32_t k) const { return static_cast<int32_t>(k); }
    __device__ Depth step(uint32_t n) const { return depth(n); }
    __device__ void advance(Depth& depth, Depth step) const { depth += step; }
    __device__ Depth within_step(Depth depth, int n) const { return depth + n; }
    __device__ bool exists(Row, Depth) const { return true; }
    __device__ const T* at(Row row, Depth depth) const {
        return after(row, depth, depth_contiguous ? sizeof(T) : stride_bytes);
    }
};

// The order in which depths run over the taps of a window and its channels: in runs of channels,
// of each run all taps, of each tap the run's channels. With runs of one step (kTileDepth channels),
// where the channels are so many or a multiple, neighbouring steps read neighbouring taps of the
// same channels, which a block finds in L1: all taps of a run want no more of it than the pixels
// under a tile's windows have in those channels. Else a run is all channels, and the order that of
// HWIO.
struct TapOrder {
    struct Place {
        int32_t within, right, down, run;  // run: its first channel
    };

    Divisor run, taps_across, taps_down;
    int32_t channels;  // of one group

    __device__ Place place(uint32_t k) const {
        const uint32_t tap = run.quotient(k), line = taps_across.quotient(tap);
        const uint32_t pass = taps_down.quotient(line);
        return {static_cast<int32_t>(k - tap * run.value()),
                static_cast<int32_t>(tap - line * taps_across.value()),
                static_cast<int32_t>(line - pass * taps_down.value()),
                static_cast<int32_t>(pass * run.value())};
    }
    __device__ void advance(Place& place, const Place& step) const {
        const int32_t length = run.as_int(), across = taps_across.as_int();
        const int32_t down = taps_down.as_int();
        place.within += step.within;
        place.right += step.right;
        place.down += step.down;
        place.run += step.run;
        if (place.within >= length) {
            place.within -= length;
            ++place.right;
        }
        if (place.right >= across) {
            place.right -= across;
            ++place.down;
        }
        if (place.down >= down) {
            place.down -= down;
            place.run += length;
        }
    }
};

// A grid of windows over NHWC images. Window (n, i, j) begins at the pixel (i · stride_h + top,
// j · stride_w + left) of image n; tap (r, s) of it is r rows and s columns further on. Pixels
// outside of the image are zero.
template <class T>
struct Windows {
    using Element = T;
    struct Window {
        int32_t pixel, top, left;  // first pixel: counted over all images, and its coordinates
    };
    struct Tap {
        TapOrder::Place place;
        const T* data;  // the channel in the first of all pixels
        int32_t pixel;  // relative to the window's first pixel
    };
    static constexpr bool kThroughL1 = true;

    const T* data;
    int32_t height, width;
    int32_t pixel_bytes;              // from pixel to pixel, with the channels of all groups
    Divisor grid_height, grid_width;  // windows down and across an image
    int32_t stride_h, stride_w, top, left;
    TapOrder order;

    __device__ void select_group(uint32_t group) { data += group * order.channels; }

    __device__ Window window(uint32_t index) const {
        const Window w = window_step(index);
        return {w.pixel + top * width + left, w.top + top, w.left + left};
    }
    // From window 0 to window n.
    __device__ Window window_step(uint32_t n) const {
        const uint32_t line = grid_width.quotient(n);
        const uint32_t image = grid_height.quotient(line);
        const auto i = static_cast<int32_t>(line - image * grid_height.value());
        const auto j = static_cast<int32_t>(n - line * grid_width.value());
        const int32_t h = i * stride_h, w = j * stride_w;
        return {(static_cast<int32_t>(image) * height + h) * width + w, h, w};
    }
    __device__ void advance(Window& window, const Window& step) const {
        const int32_t across = grid_width.as_int() * stride_w;
        const int32_t down = grid_height.as_int() * stride_h;
        window.pixel += step.pixel;
        window.top += step.top;
        window.left += step.left;
        if (window.left >= left + across) {
            window.left -= across;
            window.top += stride_h;
            window.pixel += stride_h * width - across;
        }
        if (window.top >= top + down) {
            window.top -= down;
            window.pixel += (height - down) * width;
        }
    }

    __device__ Tap tap(const TapOrder::Place& place) const {
        return {place, after(data, place.run + place.within, sizeof(T)),
                place.down * width + place.right};
    }
    __device__ void advance(Tap& tap, const Tap& step) const {
        TapOrder::Place place = tap.place;
        order.advance(place, step.place);
        tap = this->tap(place);
    }

    __device__ bool exists(const Window& window, const Tap& tap) const {
        const int32_t h = window.top + tap.place.down, w = window.left + tap.place.right;
        return (static_cast<uint32_t>(h) < static_cast<uint32_t>(height)) &
               (static_cast<uint32_t>(w) < static_cast<uint32_t>(width));
    }
    __device__ const T* at(const Window& window, const Tap& tap) const {
        return after(tap.data, window.pixel + tap.pixel, pixel_bytes);
    }
};

// Rows are windows, depths are taps and channels: forward, and the gradient of the input.
template <class T = float>
struct WindowRows : Windows<T> {
    using Row = typename Windows<T>::Window;
    using Depth = typename Windows<T>::Tap;
    static constexpr bool kDepthContiguous = true, kEvenSteps = true;
    __device__ Row row(uint32_t i) const { return this->window(i); }
    __device__ Depth depth(uint32_t k) const { return this->tap(this->order.place(k)); }
    __device__ Depth step(uint32_t n) const { return depth(n); }
};

// The same matrix transposed: the gradient of the weight. C's rows are those of HWIO, so its order
// has runs of all channels.
template <class T = float>
struct WindowDepths : Windows<T> {
    using Row = typename Windows<T>::Tap;
    using Depth = typename Windows<T>::Window;
    static constexpr bool kDepthContiguous = false, kEvenSteps = false;
    __device__ Row row(uint32_t i) const {
        Row tap = this->tap(this->order.place(i));
        work_out_here(tap.place.right);  // not anew, with its divisions, in each step
        work_out_here(tap.place.down);
        work_out_here(tap.pixel);
        work_out_here(tap.data);
        return tap;
    }
    __device__ Depth depth(uint32_t k) const { return this->window(k); }
    __device__ Depth step(uint32_t n) const { return this->window_step(n); }
    __device__ bool exists(const Row& tap, const Depth& window) const {
        return Windows<T>::exists(window, tap);
    }
    __device__ const T* at(const Row& tap, const Depth& window) const {
        return Windows<T>::at(window, tap);
    }
};

// HWIO weights for forward: rows are output channels of the group, depths those of the windows.
template <class T = float>
struct TapWeights {
    using Element = T;
    using Row = const T*;
    struct Depth {
        TapOrder::Place place;
        int32_t line;  // of (taps · in, out)
    };
    static constexpr bool kDepthContiguous = false, kEvenSteps = true, kThroughL1 = false;

    const T* data;
    int32_t line_bytes;  // from one input channel to the next, with the outputs of all groups
    size_t group_step;
    TapOrder order;

    __device__ void select_group(uint32_t group) { data += group * group_step; }
    __device__ Row row(uint32_t i) const { return data + i; }
    __device__ Depth at_place(const TapOrder::Place& place) const {
        const int32_t tap = place.down * order.taps_across.as_int() + place.right;
        return {place, tap * order.channels + place.run + place.within};
    }
    __device__ Depth depth(uint32_t k) const { return at_place(order.place(k)); }
    __device__ Depth step(uint32_t n) const { return depth(n); }
    __device__ void advance(Depth& depth, const Depth& step) const {
        TapOrder::Place place = depth.place;
        order.advance(place, step.place);
        depth = at_place(place);
    }
    __device__ Depth within_step(const Depth& depth, int n) const {
        return {depth.place, depth.line + n};
    }
    __device__ bool exists(Row, const Depth&) const { return true; }
    __device__ const T* at(Row row, const Depth& depth) const {
        return after(row, depth.line, line_bytes);
    }
};

// HWIO weights for the gradient of the input: rows are input channels of the group, depths are the
// taps of one phase (conv2d_backward_input.cu), from the last one back to the first, and output
// channels of the group.
template <class T = float>
struct PhaseWeights {
    using Element = T;
    using Row = int32_t;
    struct Depth {
        TapOrder::Place place;
        const T* data;  // of channel 0 of the input
    };
    static constexpr bool kDepthContiguous = true, kEvenSteps = true, kThroughL1 = false;

    const T* data;             // of the phase's last tap
    int32_t out;               // output channels of all groups
    ptrdiff_t step_h, step_w;  // elements between taps of the phase
    TapOrder order;

    __device__ void select_group(uint32_t group) { data += group * order.channels; }
    __device__ Row row(uint32_t c) const { return static_cast<int32_t>(c) * out; }
    __device__ Depth at_place(const TapOrder::Place& place) const {
        return {place,
                data + (place.run + place.within) - place.down * step_h - place.right * step_w};
    }
    __device__ Depth depth(uint32_t k) const { return at_place(order.place(k)); }
    __device__ Depth step(uint32_t n) const { return depth(n); }
    __device__ void advance(Depth& depth, const Depth& step) const {
        TapOrder::Place place = depth.place;
        order.advance(place, step.place);
        depth = at_place(place);
    }
    __device__ bool exists(Row, const Depth&) const { return true; }
    __device__ const T* at(Row row, const Depth& depth) const {
        return after(depth.data, row, sizeof(T));
    }
};

// Where row i of a result begins, in elements. What they are is said by Out, else by the operands.
struct MatrixRows {
    size_t stride;
    __device__ size_t operator()(uint32_t i) const { return i * stride; }
};

// Of a gradient with respect to an input: it may go on through the ReLU before (Product::relu_output).
struct InputRows : MatrixRows {
    static constexpr bool kThroughRelu = true;
};

// Of floats whatever the operands are: gradients of parameters, of a bias as well.
struct FloatRows : MatrixRows {
    using Out = float;
    static constexpr bool kSumsColumns = true;
};

// Every stride_h-th line and stride_w-th column of NHWC images, from (first_h, first_w) on; of a
// gradient with respect to them.
struct PhaseRows {
    static constexpr bool kThroughRelu = true;

    size_t height, width, channels;
    Divisor grid_height, grid_width;  // pixels of the phase down and across an image
    size_t stride_h, stride_w, first_h, first_w;

    __device__ size_t operator()(uint32_t i) const {
        const uint32_t line = grid_width.quotient(i);
        const uint32_t image = grid_height.quotient(line);
        const size_t h = (line - image * grid_height.value()) * stride_h + first_h;
        const size_t w = (i - line * grid_width.value()) * stride_w + first_w;
        return ((image * height + h) * width + w) * channels;
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_OPERANDS_CUH_
