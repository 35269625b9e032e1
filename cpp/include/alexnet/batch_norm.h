// Batch normalisation over the pixels of a channels-last array, and its gradient.

#ifndef ALEXNET_BATCH_NORM_H_
#define ALEXNET_BATCH_NORM_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"
#include "alexnet/size.h"

namespace alexnet {

// An array (..., channels) seen as a matrix.
struct BatchNormShape {
    size_t pixels;  // may be 0
    size_t channels;

    Size size() const { return Size{pixels} * channels; }
};

namespace cpu {

// y = gamma * (x - mean) / sqrt(variance + epsilon) + beta for each channel, then max(0, y) if
// `relu`. gamma, beta, mean and variance have `channels` elements. y overlaps nothing.

// Mean and variance are given.
void batch_norm_inference(const BatchNormShape& shape, const float* x, const float* gamma,
                          const float* beta, const float* mean, const float* variance,
                          double epsilon, bool relu, float* y);

// They are those of x, biased (divided by the number of pixels), and are written too; both are 0
// where there are no pixels.
void batch_norm_training(const BatchNormShape& shape, const float* x, const float* gamma,
                         const float* beta, double epsilon, bool relu, float* y, float* mean,
                         float* variance);

// average += share * (factor * value - average) for each channel, as running statistics follow
// those of the batches.
void move_average(size_t channels, float share, float factor, const float* value, float* average);

// With z = (x - mean) / sqrt(variance + epsilon): dgamma = Σ dy * z, dbeta = Σ dy over the pixels,
// dx = gamma / sqrt(variance + epsilon) * (dy - (dbeta + z * dgamma) / pixels); the last two terms
// only if `training`, where mean and variance depend on x. The results overlap nothing.
void batch_norm_backward(const BatchNormShape& shape, const float* dy, const float* x,
                         const float* gamma, const float* mean, const float* variance,
                         double epsilon, bool training, float* dx, float* dgamma, float* dbeta);

}  // namespace cpu

namespace cuda {

// T: float, Bfloat16 or Float16 (storage.h). `workspace` is device memory of batch_norm_workspace
// bytes, aligned to 8.
size_t batch_norm_workspace(const BatchNormShape& shape);
template <class T>
void batch_norm_inference(const BatchNormShape& shape, const T* x, const float* gamma,
                          const float* beta, const float* mean, const float* variance,
                          double epsilon, bool relu, T* y, Stream stream);
template <class T>
void batch_norm_training(const BatchNormShape& shape, const T* x, const float* gamma,
                         const float* beta, double epsilon, bool relu, T* y, float* mean,
                         float* variance, void* workspace, Stream stream);
template <class T>
void batch_norm_backward(const BatchNormShape& shape, const T* dy, const T* x, const float* gamma,
                         const float* mean, const float* variance, double epsilon, bool training,
                         T* dx, float* dgamma, float* dbeta, void* workspace, Stream stream);
void move_average(size_t channels, float share, float factor, const float* value, float* average,
                  Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_BATCH_NORM_H_
