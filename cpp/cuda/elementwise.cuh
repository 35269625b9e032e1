// result[i] = function(inputs[i]...), i < n: one pass over memory, 16 bytes at a time.
//
// Threads: each owns every (threads of the grid)-th run of four elements, so that a warp reads 512
// neighbouring bytes. Where an array is not aligned to 16 bytes, and at the end, elements go one by
// one. `result` may be one of the inputs.

#ifndef ALEXNET_CUDA_ELEMENTWISE_CUH_
#define ALEXNET_CUDA_ELEMENTWISE_CUH_

#include "device.cuh"
#include "launch.cuh"

namespace alexnet::cuda {

constexpr unsigned kMostBlocks = 132 * 8 * 4;  // a few turns of the largest device's threads

__device__ inline float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ inline void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }

template <bool vectors, class Function, class... Inputs>
__global__ void __launch_bounds__(kBlockThreads)
    elementwise(size_t n, Function function, float* result, Inputs... inputs) {
    const size_t thread = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const size_t threads = size_t{gridDim.x} * blockDim.x;
    size_t single = thread;
    if constexpr (vectors) {
        const auto apply = [&](auto... v) {
            return make_float4(function(v.x...), function(v.y...), function(v.z...),
                               function(v.w...));
        };
        for (size_t i = thread; i < n / 4; i += threads) {
            store4(result + 4 * i, apply(load4(inputs + 4 * i)...));
        }
        single += n / 4 * 4;
    }
    for (size_t i = single; i < n; i += threads) result[i] = function(inputs[i]...);
}

template <class Function, class... Inputs>
void launch_elementwise(const char* name, size_t n, Function function, float* result, Stream stream,
                        Inputs... inputs) {
    const bool vectors = is_aligned16(result) && (is_aligned16(inputs) && ...);
    const unsigned blocks = blocks_for(vectors ? (n + 3) / 4 : n, kMostBlocks);
    launch(name,
           vectors ? elementwise<true, Function, Inputs...> : elementwise<false, Function, Inputs...>,
           blocks, kBlockThreads, 0, stream, n, function, result, inputs...);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_ELEMENTWISE_CUH_
