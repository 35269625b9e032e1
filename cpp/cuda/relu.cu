// ReLU: y = max(0, x);  backward: dx = dy where y > 0, else 0.
//
// Cost: 1 FLOP and 8 bytes an element (backward 12): memory-bound. In place is allowed.
// Threads: as elementwise.cuh deals elements out.
// Numerics: exact. relu keeps NaN as NumPy's maximum does; where y is NaN the gradient is 0.

#include "alexnet/relu.h"
#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

struct Relu {
    __device__ void operator()(float& y, float x) const { y = x < 0 ? 0.0f : x; }
};

struct ReluBackward {
    __device__ void operator()(float& dx, float dy, float y) const { dx = y > 0 ? dy : 0.0f; }
};

}  // namespace

void relu(size_t n, const float* x, float* y, Stream stream) {
    launch_elementwise("relu", n, stream, Relu{}, Write{y}, Read{x});
}

void relu_backward(size_t n, const float* dy, const float* y, float* dx, Stream stream) {
    launch_elementwise("relu_backward", n, stream, ReluBackward{}, Write{dx}, Read{dy}, Read{y});
}

}  // namespace alexnet::cuda
