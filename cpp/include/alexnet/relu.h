// ReLU: y = max(0, x), and its gradient.

#ifndef ALEXNET_RELU_H_
#define ALEXNET_RELU_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"

namespace alexnet {
namespace cpu {

// y[i] = max(0, x[i]), i < n. y may be x.
void relu(size_t n, const float* x, float* y);

// dx[i] = dy[i] where y[i] > 0, else 0. dx may be dy.
void relu_backward(size_t n, const float* dy, const float* y, float* dx);

}  // namespace cpu

namespace cuda {

// T: float, Bfloat16 or Float16 (storage.h).
template <class T>
void relu(size_t n, const T* x, T* y, Stream stream);
template <class T>
void relu_backward(size_t n, const T* dy, const T* y, T* dx, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_RELU_H_
