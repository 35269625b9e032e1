// Softmax cross-entropy with integer labels, mean over the batch, and its gradient.

#ifndef ALEXNET_SOFTMAX_CROSS_ENTROPY_H_
#define ALEXNET_SOFTMAX_CROSS_ENTROPY_H_

#include <cstddef>
#include <cstdint>

#include "alexnet/cuda_stream.h"

namespace alexnet {
namespace cpu {

// Mean over the rows of logits (batch, classes) of log(Σ_j exp(z_j)) - z_label; 0 for an empty
// batch. 0 <= labels[i] < classes, classes >= 1.
float softmax_cross_entropy(size_t batch, size_t classes, const float* logits,
                            const int64_t* labels);

// dlogits = (softmax(logits) - onehot(labels)) / batch. logits and dlogits do not overlap.
void softmax_cross_entropy_backward(size_t batch, size_t classes, const float* logits,
                                    const int64_t* labels, float* dlogits);

}  // namespace cpu

namespace cuda {

// T: float, Bfloat16 or Float16 (storage.h).

// The loss goes to *loss; `workspace` is device memory of softmax_cross_entropy_workspace bytes.
size_t softmax_cross_entropy_workspace(size_t batch);
template <class T>
void softmax_cross_entropy(size_t batch, size_t classes, const T* logits, const int64_t* labels,
                           float* loss, void* workspace, Stream stream);
template <class T>
void softmax_cross_entropy_backward(size_t batch, size_t classes, const T* logits,
                                    const int64_t* labels, T* dlogits, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_SOFTMAX_CROSS_ENTROPY_H_
