// ReLU: y = max(0, x), and its gradient.

#ifndef ALEXNET_RELU_H_
#define ALEXNET_RELU_H_

#include <cstddef>

namespace alexnet::cpu {

// y[i] = max(0, x[i]), i < n. y may be x.
void relu(size_t n, const float* x, float* y);

// dx[i] = dy[i] where y[i] > 0, else 0. dx may be dy.
void relu_backward(size_t n, const float* dy, const float* y, float* dx);

}  // namespace alexnet::cpu

#endif  // ALEXNET_RELU_H_
