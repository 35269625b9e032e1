// function(elements of all arrays at i), i < n: one pass over memory, 16 bytes at a time.
//
// How an array takes part is said by the type that it is passed as: Read, Write or Update. The
// function takes its elements in the same order, by reference where it changes them. One that has a
// method begin() has it called once a thread, before the first element.
//
// Threads: each owns every (threads of the grid)-th run of four elements, so that a warp reads 512
// neighbouring bytes. Where an array is not aligned to 16 bytes, and at the end, elements go one by
// one. An array that is written may be one that is read.

#ifndef ALEXNET_CUDA_ELEMENTWISE_CUH_
#define ALEXNET_CUDA_ELEMENTWISE_CUH_

#include "device.cuh"
#include "launch.cuh"

namespace alexnet::cuda {

constexpr unsigned kMostBlocks = 132 * 8 * 4;  // some turns for every thread of a large device

struct Read {
    const float* data;
    __device__ float load(size_t i) const { return data[i]; }
    __device__ float4 load4(size_t i) const { return reinterpret_cast<const float4*>(data)[i]; }
    template <typename Value>
    __device__ void store(size_t, Value) const {}
};

struct Write {
    float* data;
    __device__ float load(size_t) const { return 0; }
    __device__ float4 load4(size_t) const { return make_float4(0, 0, 0, 0); }
    __device__ void store(size_t i, float value) const { data[i] = value; }
    __device__ void store(size_t i, float4 v) const { reinterpret_cast<float4*>(data)[i] = v; }
};

struct Update : Write {
    __device__ float load(size_t i) const { return data[i]; }
    __device__ float4 load4(size_t i) const { return reinterpret_cast<const float4*>(data)[i]; }
};

template <class Function>
__device__ auto begin(Function& function, int) -> decltype(function.begin()) {
    function.begin();
}
template <class Function>
__device__ void begin(Function&, long) {}

template <bool vectors, class Function, class... Arrays>
__global__ void __launch_bounds__(kBlockThreads)
    elementwise(size_t n, Function function, Arrays... arrays) {
    begin(function, 0);
    const size_t thread = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const size_t threads = size_t{gridDim.x} * blockDim.x;
    size_t first = thread;
    if constexpr (vectors) {
        for (size_t i = thread; i < n / 4; i += threads) {
            [&](auto... v) {
                function(v.x...);
                function(v.y...);
                function(v.z...);
                function(v.w...);
                (arrays.store(i, v), ...);
            }(arrays.load4(i)...);
        }
        first += n / 4 * 4;
    }
    for (size_t i = first; i < n; i += threads) {
        [&](auto... v) {
            function(v...);
            (arrays.store(i, v), ...);
        }(arrays.load(i)...);
    }
}

template <class Function, class... Arrays>
void launch_elementwise(const char* name, size_t n, Stream stream, Function function,
                        Arrays... arrays) {
    const bool vectors = (is_aligned16(arrays.data) && ...);
    launch(
        name,
        vectors ? elementwise<true, Function, Arrays...> : elementwise<false, Function, Arrays...>,
        blocks_for(vectors ? (n + 3) / 4 : n, kMostBlocks), kBlockThreads, 0, stream, n, function,
        arrays...);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_ELEMENTWISE_CUH_
