// ReLU: y = max(0, x);  backward: dx = dy where y > 0, else 0.
//
// Cost: 1 FLOP and two accesses an element (backward three): memory-bound. In place is allowed.
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

template <class T>
void relu(size_t n, const T* x, T* y, Stream stream) {
    launch_elementwise("relu", n, stream, Relu{}, Write<T>{y}, Read<T>{x});
}

template <class T>
void relu_backward(size_t n, const T* dy, const T* y, T* dx, Stream stream) {
    launch_elementwise("relu_backward", n, stream, ReluBackward{}, Write<T>{dx}, Read<T>{dy},
                       Read<T>{y});
}

#define ALEXNET_INSTANTIATE(T)                        \
    template void relu(size_t, const T*, T*, Stream); \
    template void relu_backward(size_t, const T*, const T*, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
