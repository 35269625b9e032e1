// Dynamic loss scaling: what a step in float16 does besides (loss_scale.h).
//
//   scaled = scale · dy                                     before backward
//   gradient = gradient / scale;  overflow = one is not finite    after it
//   scale = overflow ? scale / 2 : after 2000 good steps 2 · scale      after the update
//
// All of it is decided on the device: whether an update changes anything is read there by its
// kernel (optimizer.cu), and nothing waits for the host.
//
// Cost: 8 bytes for each parameter, memory-bound; a single thread moves the scale.
// Threads: as elementwise.cuh deals elements out. Any of them may write `overflow`, all the same.
// Numerics: the scale is a power of two, so multiplying by it rounds nothing, but where float16
//   rounds a gradient and where a result is too small to be a normal float.

#include "alexnet/loss_scale.h"
#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

struct Scale {
    const LossScale* scale;
    uint32_t* overflow;
    float factor = 1;
    __device__ void begin() {
        factor = scale->scale;
        if (blockIdx.x == 0 && threadIdx.x == 0) *overflow = 0;
    }
    __device__ void operator()(float& scaled, float dy) const { scaled = factor * dy; }
};

struct Unscale {
    const LossScale* scale;
    uint32_t* overflow;
    float factor = 1;
    __device__ void begin() { factor = scale->inverse; }
    __device__ void operator()(float& gradient) const {
        if (!isfinite(gradient)) *overflow = 1;
        gradient = factor * gradient;
    }
};

__global__ void update_scale(LossScale* scale, const uint32_t* overflow, const float* loss) {
    if (loss != nullptr && !isfinite(*loss)) return;
    LossScale now = *scale;
    now.good = *overflow ? 0.0f : now.good + 1;
    if (*overflow) {
        now.scale = fmaxf(now.scale / 2, kLeastLossScale);
    } else if (now.good >= kStepsToDouble) {
        now.scale = fminf(now.scale * 2, kMostLossScale);
        now.good = 0;
    }
    now.inverse = 1 / now.scale;
    *scale = now;
}

}  // namespace

void scale_gradient(size_t n, const float* dy, const LossScale* scale, Float16* scaled,
                    uint32_t* overflow, Stream stream) {
    launch_elementwise("scale_gradient", n, stream, Scale{scale, overflow}, Write<Float16>{scaled},
                       Read<float>{dy});
}

void unscale_gradients(size_t n, float* gradient, const LossScale* scale, uint32_t* overflow,
                       Stream stream) {
    launch_elementwise("unscale_gradients", n, stream, Unscale{scale, overflow},
                       Update<float>{{gradient}});
}

void update_loss_scale(LossScale* scale, const uint32_t* overflow, const float* loss,
                       Stream stream) {
    launch("update_loss_scale", update_scale, 1, 1, 0, stream, scale, overflow, loss);
}

}  // namespace alexnet::cuda
