// Local response normalisation (lrn.h) and max pooling of its output (max_pool2d.h) in one pass,
// which keeps what lies between the two in the caches, and their gradient. The results have the
// bits of the two operators one after the other; of 16-bit arrays, what lies between is not rounded.

#ifndef ALEXNET_LRN_MAX_POOL2D_H_
#define ALEXNET_LRN_MAX_POOL2D_H_

#include "alexnet/lrn.h"
#include "alexnet/max_pool2d.h"

namespace alexnet {
namespace cpu {

// positions, of y's shape, takes the number of each maximum's pixel in its window, for the
// gradient; null: not needed.
void lrn_max_pool2d(const Pool2dShape& shape, const LrnParameters& parameters, const float* x,
                    float* y, float* positions);

// through_relu: x is a ReLU's output, and dx the gradient at its input.
void lrn_max_pool2d_backward(const Pool2dShape& shape, const LrnParameters& parameters,
                             const float* dy, const float* x, const float* positions,
                             bool through_relu, float* dx);

}  // namespace cpu

namespace cuda {

// T: float, Bfloat16 or Float16 (storage.h). `positions` are those of max_pool2d, and may be null
// forward. False, and nothing done, where there is no kernel for the shape or the parameters.
template <class T>
bool lrn_max_pool2d(const Pool2dShape& shape, const LrnParameters& parameters, const T* x, T* y,
                    void* positions, Stream stream);
template <class T>
bool lrn_max_pool2d_backward(const Pool2dShape& shape, const LrnParameters& parameters, const T* dy,
                             const T* x, const void* positions, bool through_relu, T* dx,
                             Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_LRN_MAX_POOL2D_H_
