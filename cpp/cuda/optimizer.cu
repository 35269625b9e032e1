// Parameter updates in place, one pass over memory.
//
// SGD:   v = momentum·v + (g + weight_decay·p);   p = p - rate·v
// Adam:  g' = g + weight_decay·p;   m = beta1·m + share1·g';   s = beta2·s + share2·g'²
//        p = p - rate·m / (root_scale·sqrt(s) + epsilon)
//
// The bias corrections c1 = 1 - beta1^step and c2 = 1 - beta2^step are constants of a step:
// rate = learning_rate / c1, root_scale = 1 / sqrt(c2). The host rounds all such numbers; they are
// arguments of the launch or, in a CUDA graph, in memory that is written before each run of it.
//
// Networks in 16 bits multiply by a rounded copy of the parameters, which is written on the way.
//
// Cost: SGD 6 FLOP and 20 bytes an element, Adam 13 FLOP, a square root, a division and 28 bytes,
//   a copy 2 bytes more: memory-bound.
// Threads: as elementwise.cuh deals elements out.
// Numerics: the roundings of cpp/cpu/microkernels/optimizer.cpp, in the same order.

#include <cfloat>
#include <cmath>

#include "alexnet/optimizer.h"
#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

// What both rules share: where the numbers come from. `begin` runs once a thread.
template <class Step>
struct Rule {
    StepSource<Step> source;
    bool on = true;
    __device__ void begin() {
        if (source.later != nullptr) {
            source.now = *source.later;
            on = isfinite(*source.loss);
        }
        if (source.overflow != nullptr && *source.overflow != 0) on = false;
    }
};

struct Sgd : Rule<SgdStep> {
    template <class... Copy>
    __device__ void operator()(float& p, float& v, float g, Copy&... copy) const {
        if (on) {
            const SgdStep& s = source.now;
            v = fmaf(s.momentum, v, fmaf(s.weight_decay, p, g));
            p = fmaf(-s.rate, v, p);
        }
        ((copy = p), ...);
    }
};

struct Adam : Rule<AdamStep> {
    template <class... Copy>
    __device__ void operator()(float& p, float& m, float& s, float g, Copy&... copy) const {
        if (on) {
            const AdamStep& by = source.now;
            g = fmaf(by.weight_decay, p, g);
            m = fmaf(by.beta1, m, by.share1 * g);
            s = fmaf(by.beta2, s, by.share2 * g * g);
            p = p - by.rate * m / fmaf(by.root_scale, sqrtf(s), by.epsilon);
        }
        ((copy = p), ...);
    }
};

}  // namespace

SgdStep sgd_step(double learning_rate, double momentum, double weight_decay) {
    return {static_cast<float>(learning_rate), static_cast<float>(momentum),
            static_cast<float>(weight_decay)};
}

AdamStep adam_step(const AdamOptions& options) {
    const auto count = static_cast<double>(options.step);
    AdamStep step;
    step.rate = static_cast<float>(options.learning_rate / (1 - std::pow(options.beta1, count)));
    step.root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, count)));
    // An epsilon that a float cannot hold must not become 0: 0 / 0 would be NaN.
    step.epsilon = std::max(static_cast<float>(options.epsilon), FLT_MIN);
    step.beta1 = static_cast<float>(options.beta1);
    step.beta2 = static_cast<float>(options.beta2);
    step.share1 = static_cast<float>(1 - options.beta1);
    step.share2 = static_cast<float>(1 - options.beta2);
    step.weight_decay = static_cast<float>(options.weight_decay);
    return step;
}

template <class... Copy>
void sgd_update(size_t n, float* parameter, const float* gradient, float* velocity,
                const StepSource<SgdStep>& step, Stream stream, Copy*... copy) {
    launch_elementwise("sgd_update", n, stream, Sgd{{step}}, Update<float>{{parameter}},
                       Update<float>{{velocity}}, Read<float>{gradient}, Write<Copy>{copy}...);
}

template <class... Copy>
void adam_update(size_t n, float* parameter, const float* gradient, float* first_moment,
                 float* second_moment, const StepSource<AdamStep>& step, Stream stream,
                 Copy*... copy) {
    launch_elementwise("adam_update", n, stream, Adam{{step}}, Update<float>{{parameter}},
                       Update<float>{{first_moment}}, Update<float>{{second_moment}},
                       Read<float>{gradient}, Write<Copy>{copy}...);
}

template void sgd_update(size_t, float*, const float*, float*, const StepSource<SgdStep>&, Stream);
template void adam_update(size_t, float*, const float*, float*, float*, const StepSource<AdamStep>&,
                          Stream);
#define ALEXNET_INSTANTIATE(T)                                                                 \
    template void sgd_update(size_t, float*, const float*, float*, const StepSource<SgdStep>&, \
                             Stream, T*);                                                      \
    template void adam_update(size_t, float*, const float*, float*, float*,                    \
                              const StepSource<AdamStep>&, Stream, T*);
ALEXNET_INSTANTIATE(Bfloat16)
ALEXNET_INSTANTIATE(Float16)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
