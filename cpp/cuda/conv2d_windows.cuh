// The windows of x that the outputs of a convolution see, for forward and the gradient of the
// weight.

#ifndef ALEXNET_CUDA_CONV2D_WINDOWS_CUH_
#define ALEXNET_CUDA_CONV2D_WINDOWS_CUH_

#include "alexnet/conv2d.h"
#include "gemm_launch.cuh"

namespace alexnet::cuda {

inline int32_t coordinate(size_t value) { return static_cast<int32_t>(gemm_index(value)); }

// Depths of a window of `taps`, for elements of type T; see TapOrder.
template <class T>
TapOrder step_runs(size_t taps_down, size_t taps_across, size_t channels) {
    const bool whole_steps = channels % kTileDepth<T> == 0;
    return {Divisor(whole_steps ? kTileDepth<T> : channels), Divisor(taps_across),
            Divisor(taps_down), coordinate(channels)};
}

// The same in the order of HWIO.
inline TapOrder all_channels(size_t taps_down, size_t taps_across, size_t channels) {
    return {Divisor(channels), Divisor(taps_across), Divisor(taps_down), coordinate(channels)};
}

template <class T>
Windows<T> input_windows(const Conv2dShape& s, const T* x, const TapOrder& order) {
    gemm_index(s.batch * s.in_height * s.in_width);
    // One past the last row and column of the padded image that a window touches.
    gemm_index((s.out_height - 1) * s.stride_height + s.kernel_height);
    gemm_index((s.out_width - 1) * s.stride_width + s.kernel_width);
    return {x,
            coordinate(s.in_height),
            coordinate(s.in_width),
            coordinate(s.in_channels * sizeof(T)),
            Divisor(s.out_height),
            Divisor(s.out_width),
            coordinate(s.stride_height),
            coordinate(s.stride_width),
            -coordinate(s.pad_top),
            -coordinate(s.pad_left),
            order};
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_CONV2D_WINDOWS_CUH_
