// Dynamic loss scaling: gradients in float16 are computed of a multiple of the loss, so that small
// ones do not vanish, and a step whose gradients have overflowed is left out.
//
// Micikevicius et al., "Mixed precision training", ICLR 2018 (arXiv 1710.03740), section 3.2.

#ifndef ALEXNET_LOSS_SCALE_H_
#define ALEXNET_LOSS_SCALE_H_

#include <cstddef>
#include <cstdint>

#include "alexnet/cuda_stream.h"
#include "alexnet/storage.h"

namespace alexnet::cuda {

// In the device's memory. `scale` is a power of two, so that multiplying by it, and by `inverse`,
// 1 / scale, rounds nothing that is not as small as float's smallest numbers; `good` counts the
// steps without overflow since it has changed.
struct LossScale {
    float scale, inverse, good;
};

constexpr float kFirstLossScale = 65536.0f;      // 2^16
constexpr float kLeastLossScale = 1.0f / 65536;  // halved no further
constexpr float kMostLossScale = 16777216.0f;    // 2^24, doubled no further
constexpr float kStepsToDouble = 2000.0f;

// scaled = scale · dy, rounded, as a backward pass begins with it; *overflow = 0.
void scale_gradient(size_t n, const float* dy, const LossScale* scale, Float16* scaled,
                    uint32_t* overflow, Stream stream);

// gradient = inverse · gradient; *overflow = 1 where one of them is not finite.
void unscale_gradients(size_t n, float* gradient, const LossScale* scale, uint32_t* overflow,
                       Stream stream);

// After a step: half the scale if *overflow, else twice as much after kStepsToDouble good ones.
// Nothing where `loss` is not null and *loss not finite: then no scale would have helped.
void update_loss_scale(LossScale* scale, const uint32_t* overflow, const float* loss,
                       Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_LOSS_SCALE_H_
