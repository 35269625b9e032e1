// ReLU: y = max(0, x);  backward: dx = dy where y > 0, else 0.
//
// Cost: 1 FLOP and 8 bytes an element (backward 12): memory-bound. In place is allowed.
// Threads: each owns every (grid size)-th run of four elements, read and written as 16 bytes where
//   all arrays are aligned to that, else one by one; neighbours lie in neighbouring threads.
// Numerics: exact. relu keeps NaN as NumPy's maximum does; where y is NaN the gradient is 0.

#include "alexnet/relu.h"

#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

struct Relu {
    __device__ float operator()(float x) const { return x < 0 ? 0.0f : x; }
};

struct ReluBackward {
    __device__ float operator()(float dy, float y) const { return y > 0 ? dy : 0.0f; }
};

}  // namespace

void relu(size_t n, const float* x, float* y, Stream stream) {
    launch_elementwise("relu", n, Relu{}, y, stream, x);
}

void relu_backward(size_t n, const float* dy, const float* y, float* dx, Stream stream) {
    launch_elementwise("relu_backward", n, ReluBackward{}, dx, stream, dy, y);
}

}  // namespace alexnet::cuda
