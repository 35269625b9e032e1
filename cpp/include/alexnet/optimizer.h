// Parameter updates in place: SGD with momentum, and Adam.

#ifndef ALEXNET_OPTIMIZER_H_
#define ALEXNET_OPTIMIZER_H_

#include <cstddef>
#include <cstdint>

#include "alexnet/cuda_stream.h"

namespace alexnet {

// Hyperparameters of Adam as Kingma and Ba name them; step counts from 1.
struct AdamOptions {
    int64_t step;
    double learning_rate, beta1, beta2, epsilon, weight_decay;
};

namespace cpu {

// velocity = momentum * velocity + gradient + weight_decay * parameter
// parameter -= learning_rate * velocity
// on n elements of three arrays that do not overlap.
void sgd_update(size_t n, float* parameter, const float* gradient, float* velocity,
                double learning_rate, double momentum, double weight_decay);

// With g = gradient + weight_decay * parameter:
// first_moment = beta1 * first_moment + (1 - beta1) * g
// second_moment = beta2 * second_moment + (1 - beta2) * g^2
// parameter -= learning_rate * (first_moment / (1 - beta1^step))
//              / (sqrt(second_moment / (1 - beta2^step)) + epsilon)
// on n elements of four arrays that do not overlap.
void adam_update(size_t n, float* parameter, const float* gradient, float* first_moment,
                 float* second_moment, const AdamOptions& options);

}  // namespace cpu

namespace cuda {

void sgd_update(size_t n, float* parameter, const float* gradient, float* velocity,
                double learning_rate, double momentum, double weight_decay, Stream stream);
void adam_update(size_t n, float* parameter, const float* gradient, float* first_moment,
                 float* second_moment, const AdamOptions& options, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_OPTIMIZER_H_
