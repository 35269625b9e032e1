// The windows of x that the outputs of a convolution see, for forward and the gradient of the
// weight.

#ifndef ALEXNET_CUDA_CONV2D_WINDOWS_CUH_
#define ALEXNET_CUDA_CONV2D_WINDOWS_CUH_

#include "alexnet/conv2d.h"
#include "gemm_launch.cuh"

namespace alexnet::cuda {

inline int32_t coordinate(size_t value) { return static_cast<int32_t>(gemm_index(value)); }

inline Windows<float> input_windows(const Conv2dShape& s, const float* x) {
    gemm_index(s.batch * s.in_height * s.in_width);
    // One past the last row and column of the padded image that a window touches.
    gemm_index((s.out_height - 1) * s.stride_height + s.kernel_height);
    gemm_index((s.out_width - 1) * s.stride_width + s.kernel_width);
    return {x,
            coordinate(s.in_height),
            coordinate(s.in_width),
            coordinate(s.in_channels * sizeof(float)),
            Divisor(s.out_height),
            Divisor(s.out_width),
            coordinate(s.stride_height),
            coordinate(s.stride_width),
            -coordinate(s.pad_top),
            -coordinate(s.pad_left),
            Divisor(s.kernel_width),
            Divisor(s.group_in())};
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_CONV2D_WINDOWS_CUH_
