// Half the sum of squares and its gradient.

#ifndef ALEXNET_L2_LOSS_H_
#define ALEXNET_L2_LOSS_H_

#include <cstddef>

namespace alexnet::cpu {

// Σ x[i]² / 2, i < n.
float l2_loss(size_t n, const float* x);

// dx = x. They do not overlap.
void l2_loss_backward(size_t n, const float* x, float* dx);

}  // namespace alexnet::cpu

#endif  // ALEXNET_L2_LOSS_H_
