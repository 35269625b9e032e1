// 2-D max pooling and its gradient, NHWC.
//
//   y[n,oh,ow,c] = max of x[n,h,w,c] over the window of (oh,ow): h from oh·stride_height - pad_top,
//                  w from ow·stride_width - pad_left, what lies outside of the image left out
//
// NaN is greater than every number. Of equal values, and of NaNs, the first in row-major order is
// the maximum. Every window covers a pixel; batch may be 0. No array may overlap another.

#ifndef ALEXNET_MAX_POOL2D_H_
#define ALEXNET_MAX_POOL2D_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"
#include "alexnet/size.h"

namespace alexnet {

struct Pool2dShape {
    size_t batch, in_height, in_width, channels;
    size_t out_height, out_width;
    size_t window_height, window_width;
    size_t stride_height, stride_width;
    size_t pad_top, pad_left;

    Size input_size() const { return Size{batch} * in_height * in_width * channels; }
    Size output_size() const { return Size{batch} * out_height * out_width * channels; }
};

namespace cpu {

void max_pool2d(const Pool2dShape& shape, const float* x, float* y);

// dx[n,h,w,c] = sum of dy over the windows whose maximum is x[n,h,w,c].
// through_relu: x is a ReLU's output, and dx the gradient at its input: 0 where x is not positive.
void max_pool2d_backward(const Pool2dShape& shape, const float* dy, const float* x,
                         bool through_relu, float* dx);

}  // namespace cpu

namespace cuda {

// T: float, Bfloat16 or Float16 (storage.h).

// Positions of maxima take a byte an element of y if this is so, else eight.
bool has_byte_positions(const Pool2dShape& shape);

// `positions`, aligned to 16 bytes, takes where the maxima are, for the gradient. It may be null,
// or y may.
template <class T>
void max_pool2d(const Pool2dShape& shape, const T* x, T* y, void* positions, Stream stream);

// From what the forward has noted.
template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const T* dy, const void* positions,
                         bool through_relu, T* dx, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_MAX_POOL2D_H_
