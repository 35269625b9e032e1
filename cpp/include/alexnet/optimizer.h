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

// The numbers that every element of an update meets, rounded once a step.
struct SgdStep {
    float rate, momentum, weight_decay;
};
struct AdamStep {
    float rate, root_scale, epsilon, beta1, beta2, share1, share2, weight_decay;
};
SgdStep sgd_step(double learning_rate, double momentum, double weight_decay);
AdamStep adam_step(const AdamOptions& options);

// A step as it is now, or one in the device's memory, which the kernel reads when it runs: so the
// same launch serves every step of a CUDA graph. With the latter nothing changes unless *loss, of
// the device as well, is finite. Where there is an `overflow`, nothing changes unless it is 0.
template <class Step>
struct StepSource {
    Step now = {};
    const Step* later = nullptr;
    const float* loss = nullptr;
    const uint32_t* overflow = nullptr;
};

// Into `copy`, if there is one, of Bfloat16 or Float16, goes what the parameters are then, rounded.
template <class... Copy>
void sgd_update(size_t n, float* parameter, const float* gradient, float* velocity,
                const StepSource<SgdStep>& step, Stream stream, Copy*... copy);
template <class... Copy>
void adam_update(size_t n, float* parameter, const float* gradient, float* first_moment,
                 float* second_moment, const StepSource<AdamStep>& step, Stream stream,
                 Copy*... copy);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_OPTIMIZER_H_
