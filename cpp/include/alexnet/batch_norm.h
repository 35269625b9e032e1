// Batch normalisation over the pixels of a channels-last array, and its gradient.

#ifndef ALEXNET_BATCH_NORM_H_
#define ALEXNET_BATCH_NORM_H_

#include <cstddef>

namespace alexnet::cpu {

// An array (..., channels) seen as a matrix.
struct BatchNormShape {
    size_t pixels;  // may be 0
    size_t channels;
};

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

// With z = (x - mean) / sqrt(variance + epsilon): dgamma = Σ dy * z, dbeta = Σ dy over the pixels,
// dx = gamma / sqrt(variance + epsilon) * (dy - (dbeta + z * dgamma) / pixels); the last two terms
// only if `training`, where mean and variance depend on x. The results overlap nothing.
void batch_norm_backward(const BatchNormShape& shape, const float* dy, const float* x,
                         const float* gamma, const float* mean, const float* variance,
                         double epsilon, bool training, float* dx, float* dgamma, float* dbeta);

}  // namespace alexnet::cpu

#endif  // ALEXNET_BATCH_NORM_H_
