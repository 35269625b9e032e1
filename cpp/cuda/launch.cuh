// The one way to launch a kernel: checked, on the caller's stream.

#ifndef ALEXNET_CUDA_LAUNCH_CUH_
#define ALEXNET_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#include "alexnet/cuda_stream.h"

namespace alexnet::cuda {

constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

inline void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // an error that is not sticky would be reported again by the next call
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Put `kernel` on `stream`, with clusters of `cluster` blocks along x; `name` is for errors.
// `shared_bytes` is what dynamic_shared() gives it. A grid without blocks is no launch.
template <typename... Parameters, typename... Arguments>
void launch_clusters(const char* name, void (*kernel)(Parameters...), unsigned cluster, dim3 grid,
                     dim3 block, size_t shared_bytes, Stream stream, Arguments&&... arguments) {
    constexpr size_t kWithoutAsking = 48 * 1024;  // of shared memory
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > kWithoutAsking) {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              name);
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    cudaLaunchAttribute attribute = {};
    if (cluster > 1) {  // devices before 9.0 do not know it
        attribute.id = cudaLaunchAttributeClusterDimension;
        attribute.val.clusterDim.x = cluster;
        attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
        config.attrs = &attribute;
        config.numAttrs = 1;
    }
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

// The same without clusters.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t shared_bytes, Stream stream, Arguments&&... arguments) {
    launch_clusters(name, kernel, 1, grid, block, shared_bytes, stream,
                    std::forward<Arguments>(arguments)...);
}

// Of the device that is current.
inline size_t multiprocessors() {
    int device = 0, count = 0;
    check(cudaGetDevice(&device), "multiprocessors");
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
          "multiprocessors");
    return static_cast<size_t>(count);
}

// --- shapes of grids and blocks -----------------------------------------------------------------

constexpr unsigned kBlockThreads = 256;

// Blocks of kBlockThreads for `threads` threads, at most `most`: kernels that stride over their
// elements by the size of the grid need no more than fill the device.
inline unsigned blocks_for(size_t threads, unsigned most = 0x7fffffff) {
    const size_t blocks = (threads + kBlockThreads - 1) / kBlockThreads;
    return static_cast<unsigned>(std::min<size_t>(blocks, most));
}

// A block whose threadIdx.x runs over channels, in whole warps, and threadIdx.y over pixels.
inline dim3 channel_block(size_t channels) {
    const size_t across = std::min<size_t>((channels + 31) / 32 * 32, kBlockThreads);
    return dim3(static_cast<unsigned>(across), static_cast<unsigned>(kBlockThreads / across));
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_LAUNCH_CUH_
