// function(elements of all arrays at i), i < n: one pass over memory, 16 bytes at a time.
//
// How an array takes part is said by the type that it is passed as: Read, Write or Update, of float,
// Bfloat16 or Float16. The function takes its elements as floats in the same order, by reference
// where it changes them. One that has a method begin() has it called once a thread, before the first
// element.
//
// Threads: each owns every (threads of the grid)-th run of elements, 16 bytes of those that are
// largest, so that a warp reads 512 neighbouring bytes. Where an array is not aligned to 16 bytes,
// and at the end, elements go one by one. An array that is written may be one that is read.

#ifndef ALEXNET_CUDA_ELEMENTWISE_CUH_
#define ALEXNET_CUDA_ELEMENTWISE_CUH_

#include "launch.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

constexpr unsigned kMostBlocks = 132 * 8 * 4;  // some turns for every thread of a large device

template <class T>
struct Read {
    const T* data;
    static constexpr int kMost = kVector<T>;  // elements at a time
    template <int width>
    __device__ Floats<width> load(size_t i) const {
        return load_floats<width>(data + i);
    }
    template <int width>
    __device__ void store(size_t, const Floats<width>&) const {}
};

template <class T>
struct Write {
    T* data;
    static constexpr int kMost = kVector<T>;
    template <int width>
    __device__ Floats<width> load(size_t) const {
        return Floats<width>::of(0);
    }
    template <int width>
    __device__ void store(size_t i, const Floats<width>& values) const {
        store_floats(data + i, values);
    }
};

template <class T>
struct Update : Write<T> {
    template <int width>
    __device__ Floats<width> load(size_t i) const {
        return load_floats<width>(this->data + i);
    }
};

template <class Function>
__device__ auto begin(Function& function, int) -> decltype(function.begin()) {
    function.begin();
}
template <class Function>
__device__ void begin(Function&, long) {}

template <int width, class Function, class... Arrays>
__global__ void __launch_bounds__(kBlockThreads)
    elementwise(size_t n, Function function, Arrays... arrays) {
    begin(function, 0);
    const size_t thread = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const size_t threads = size_t{gridDim.x} * blockDim.x;
    for (size_t i = thread * width; i + width <= n; i += threads * width) {
        [&](auto... v) {
#pragma unroll
            for (int c = 0; c < width; ++c) function(v.at[c]...);
            (arrays.store(i, v), ...);
        }(arrays.template load<width>(i)...);
    }
    if constexpr (width > 1) {
        for (size_t i = n / width * width + thread; i < n; i += threads) {
            [&](auto... v) {
                function(v.at[0]...);
                (arrays.store(i, v), ...);
            }(arrays.template load<1>(i)...);
        }
    }
}

template <class Function, class... Arrays>
void launch_elementwise(const char* name, size_t n, Stream stream, Function function,
                        Arrays... arrays) {
    constexpr int kWidth = std::min({Arrays::kMost...});
    const bool vectors = (is_aligned16(arrays.data) && ...);
    launch(name,
           vectors ? elementwise<kWidth, Function, Arrays...> : elementwise<1, Function, Arrays...>,
           blocks_for(vectors ? (n + kWidth - 1) / kWidth : n, kMostBlocks), kBlockThreads, 0,
           stream, n, function, arrays...);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_ELEMENTWISE_CUH_
