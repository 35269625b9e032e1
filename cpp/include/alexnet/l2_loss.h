// Half the sum of squares and its gradient.

#ifndef ALEXNET_L2_LOSS_H_
#define ALEXNET_L2_LOSS_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"

namespace alexnet {
namespace cpu {

// Σ x[i]² / 2, i < n.
float l2_loss(size_t n, const float* x);

// dx = x. They do not overlap.
void l2_loss_backward(size_t n, const float* x, float* dx);

}  // namespace cpu

namespace cuda {

// The loss goes to *loss; `workspace` is device memory of l2_loss_workspace bytes.
size_t l2_loss_workspace(size_t n);
void l2_loss(size_t n, const float* x, float* loss, void* workspace, Stream stream);
void l2_loss_backward(size_t n, const float* x, float* dx, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_L2_LOSS_H_
