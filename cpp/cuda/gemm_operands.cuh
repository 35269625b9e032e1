// Where the elements of a product's operands and result lie in memory.
//
// tile_gemm.cuh computes C = A · B, (m, n) = (m, depth) · (depth, n), and copies both operands
// tile by tile. It calls the index that an operand shares with C its row (of A: a row of C; of B: a
// column of C) and the other one, which is summed over, the depth. An operand says
//
//   Row row(i), Depth depth(k)     what can be worked out from one index alone,
//   const float* at(row, depth)    where the element lies; null: it is zero, in no memory,
//   kDepthContiguous               which of the two indices runs through neighbouring floats,
//   select_group(g)                move on to group g of a convolution.
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
    __host__ __device__ uint32_t quotient(uint32_t n) const {
        return static_cast<uint32_t>(uint64_t{n} * multiplier_ >> shift_);
    }

  private:
    uint32_t value_, multiplier_, shift_;
};

// A matrix whose rows, or whose depths, are `stride` floats apart.
template <bool depth_contiguous>
struct MatrixOperand {
    using Row = const float*;
    using Depth = size_t;
    static constexpr bool kDepthContiguous = depth_contiguous;

    const float* data;
    size_t stride;
    size_t group_step;  // floats from one group to the next

    __device__ void select_group(uint32_t group) { data += group * group_step; }
    __device__ Row row(uint32_t i) const { return data + (depth_contiguous ? i * stride : i); }
    __device__ Depth depth(uint32_t k) const { return depth_contiguous ? k : k * stride; }
    __device__ const float* at(Row row, Depth depth) const { return row + depth; }
};

// A grid of windows over NHWC images. Window (n, i, j) begins at the pixel (i · stride_h + top,
// j · stride_w + left) of image n; tap (r, s) of it is r rows and s columns further on, or back
// where `direction` is -1. Pixels outside of the image are zero.
struct Windows {
    struct Window {
        int32_t pixel, top, left;  // first pixel: counted over all images, and its coordinates
    };
    struct Tap {
        int32_t pixel, down, right;  // the same, relative to the window's first pixel
        uint32_t channel;
    };

    const float* data;
    int32_t height, width;
    size_t channels;                  // of all groups: floats from pixel to pixel
    Divisor grid_height, grid_width;  // windows down and across an image
    int32_t stride_h, stride_w, top, left, direction;
    Divisor taps_across, tap_channels;  // taps in a row of the kernel; channels of one group

    __device__ void select_group(uint32_t group) { data += group * tap_channels.value(); }

    __device__ Window window(uint32_t index) const {
        const uint32_t line = grid_width.quotient(index);
        const uint32_t image = grid_height.quotient(line);
        const auto i = static_cast<int32_t>(line - image * grid_height.value());
        const auto j = static_cast<int32_t>(index - line * grid_width.value());
        const int32_t h = i * stride_h + top, w = j * stride_w + left;
        return {(static_cast<int32_t>(image) * height + h) * width + w, h, w};
    }

    __device__ Tap tap(uint32_t index) const {
        const uint32_t position = tap_channels.quotient(index);
        const uint32_t r = taps_across.quotient(position);
        const int32_t down = direction * static_cast<int32_t>(r);
        const int32_t right = direction * static_cast<int32_t>(position - r * taps_across.value());
        return {down * width + right, down, right, index - position * tap_channels.value()};
    }

    __device__ const float* at(const Window& window, const Tap& tap) const {
        const int32_t h = window.top + tap.down, w = window.left + tap.right;
        const bool inside = static_cast<uint32_t>(h) < static_cast<uint32_t>(height) &&
                            static_cast<uint32_t>(w) < static_cast<uint32_t>(width);
        const auto pixel = static_cast<size_t>(window.pixel + tap.pixel);
        return inside ? data + pixel * channels + tap.channel : nullptr;
    }
};

// Rows are windows, depths are taps and channels: forward, and the gradient of the input.
struct WindowRows : Windows {
    using Row = Window;
    using Depth = Tap;
    static constexpr bool kDepthContiguous = true;
    __device__ Row row(uint32_t i) const { return window(i); }
    __device__ Depth depth(uint32_t k) const { return tap(k); }
};

// The same matrix transposed: the gradient of the weight.
struct WindowDepths : Windows {
    using Row = Tap;
    using Depth = Window;
    static constexpr bool kDepthContiguous = false;
    __device__ Row row(uint32_t i) const { return tap(i); }
    __device__ Depth depth(uint32_t k) const { return window(k); }
    __device__ const float* at(const Tap& tap, const Window& window) const {
        return Windows::at(window, tap);
    }
};

// HWIO weights for the gradient of the input: rows are input channels of the group, depths are the
// taps of one phase (conv2d_backward_input.cu) and output channels of the group.
struct PhaseWeights {
    using Row = size_t;
    using Depth = size_t;
    static constexpr bool kDepthContiguous = true;

    const float* data;      // of the phase's first tap
    size_t out;             // output channels of all groups
    size_t step_h, step_w;  // floats between taps of the phase
    Divisor taps_across, tap_channels;

    __device__ void select_group(uint32_t group) { data += group * tap_channels.value(); }
    __device__ Row row(uint32_t c) const { return c * out; }
    __device__ Depth depth(uint32_t k) const {
        const uint32_t position = tap_channels.quotient(k);
        const uint32_t r = taps_across.quotient(position);
        const uint32_t s = position - r * taps_across.value();
        return r * step_h + s * step_w + (k - position * tap_channels.value());
    }
    __device__ const float* at(Row row, Depth depth) const { return data + row + depth; }
};

// Where row i of a result begins, in floats.
struct MatrixRows {
    size_t stride;
    __device__ size_t operator()(uint32_t i) const { return i * stride; }
};

// Every stride_h-th line and stride_w-th column of NHWC images, from (first_h, first_w) on.
struct PhaseRows {
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
