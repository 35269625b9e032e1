// Parameter updates over whole arrays: each thread owns a contiguous range and passes over it once.
// The formulas, cost and numerics are in microkernels/optimizer.cpp.

#include "alexnet/optimizer.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {

constexpr size_t kGrain = 1 << 14;  // floats a thread at least: three or four arrays are passed

void sgd_update(size_t n, float* parameter, const float* gradient, float* velocity,
                double learning_rate, double momentum, double weight_decay) {
    const KernelTable& k = kernels();
    const SgdCoefficients coefficients{.rate = static_cast<float>(learning_rate),
                                       .momentum = static_cast<float>(momentum),
                                       .weight_decay = static_cast<float>(weight_decay)};
    parallel_for(n, kGrain, [&](size_t begin, size_t end) {
        k.sgd_update(end - begin, coefficients, parameter + begin, gradient + begin,
                     velocity + begin);
    });
}

// The bias corrections are taken out of the loop: with c1 = 1 - beta1^step, c2 = 1 - beta2^step the
// step is (learning_rate / c1) · first / (sqrt(second) / sqrt(c2) + epsilon).
void adam_update(size_t n, float* parameter, const float* gradient, float* first_moment,
                 float* second_moment, const AdamOptions& options) {
    const KernelTable& k = kernels();
    const auto step = static_cast<double>(options.step);
    const double correction1 = 1 - std::pow(options.beta1, step);
    const double correction2 = 1 - std::pow(options.beta2, step);
    const AdamCoefficients coefficients{
        .beta1 = static_cast<float>(options.beta1),
        .share1 = static_cast<float>(1 - options.beta1),
        .beta2 = static_cast<float>(options.beta2),
        .share2 = static_cast<float>(1 - options.beta2),
        .rate = static_cast<float>(options.learning_rate / correction1),
        .root_scale = static_cast<float>(1 / std::sqrt(correction2)),
        // An epsilon that a float cannot hold must not become 0: 0 / 0 would be NaN.
        .epsilon = std::max(static_cast<float>(options.epsilon), FLT_MIN),
        .weight_decay = static_cast<float>(options.weight_decay)};
    parallel_for(n, kGrain, [&](size_t begin, size_t end) {
        k.adam_update(end - begin, coefficients, parameter + begin, gradient + begin,
                      first_moment + begin, second_moment + begin);
    });
}

}  // namespace alexnet::cpu
