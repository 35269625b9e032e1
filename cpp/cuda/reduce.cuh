// Sums in double over blocks and grids, by fixed trees: the same input gives the same bits.

#ifndef ALEXNET_CUDA_REDUCE_CUH_
#define ALEXNET_CUDA_REDUCE_CUH_

#include "device.cuh"
#include "launch.cuh"

namespace alexnet::cuda {

constexpr int kBlockWarps = kBlockThreads / kWarp;

// Sum over the block's kBlockThreads threads, in the first of them; `shared` holds a double a warp.
__device__ inline double block_sum(double value, double* shared) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    value = warp_sum(value);
    if (threadIdx.x % kWarp == 0) shared[warp] = value;
    __syncthreads();
    double sum = 0;
    for (int i = 0; i < kBlockWarps; ++i) sum += shared[i];
    return sum;
}

// *result = scale · Σ terms[i], i < n, by one block.
void launch_scaled_sum(const char* name, size_t n, const double* terms, double scale, float* result,
                       Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_REDUCE_CUH_
