// CUDA on the host, as far as the kernels of cpp/cuda use it: keywords, vector types, intrinsics
// and the part of the runtime that launches. emulation.h says how blocks are run.

#ifndef ALEXNET_CUDA_EMULATION_CUDA_RUNTIME_H_
#define ALEXNET_CUDA_EMULATION_CUDA_RUNTIME_H_

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "emulation.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// --- of the thread that runs ---------------------------------------------------------------------

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::wait_for_block({file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffff, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) {
    emulation::wait_for_warp(mask, {file, line});
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
    return emulation::exchange(mask, value, emulation::lane() ^ distance, {file, line});
}

// Beyond the ends of the warp a lane gets its own value, as on a device.
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int distance, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
    const int from = emulation::lane() - distance;
    return emulation::exchange(mask, value, from < 0 ? emulation::lane() : from, {file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int distance, const char* file = __builtin_FILE(),
                   int line = __builtin_LINE()) {
    const int from = emulation::lane() + distance;
    return emulation::exchange(mask, value, from > 31 ? emulation::lane() : from, {file, line});
}

inline uint32_t __float_as_uint(float x) { return emulation::bits_as<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return emulation::bits_as<float>(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline size_t min(size_t a, size_t b) { return a < b ? a : b; }
inline size_t max(size_t a, size_t b) { return a < b ? b : a; }
using std::isfinite;

// --- runtime -------------------------------------------------------------------------------------

using cudaStream_t = struct CUstream_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorLaunchFailure = 719 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorLaunchFailure ? emulation::last_fault() : "invalid value";
}
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
    return bytes <= emulation::kMostShared ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t cudaMalloc(void** memory, size_t bytes) {  // filled with NaN
    *memory = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
    if (*memory == nullptr) return cudaErrorInvalidValue;
    std::memset(*memory, 0xff, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    const emulation::Launch launch = {config->gridDim, config->blockDim, config->dynamicSmemBytes,
                                      reinterpret_cast<const void*>(kernel)};
    if (!emulation::is_possible(launch)) return cudaErrorInvalidValue;
    const auto thread = [&] { kernel(arguments...); };
    const bool done = emulation::run(launch, std::ref(thread));
    return done ? cudaSuccess : cudaErrorLaunchFailure;
}

#endif  // ALEXNET_CUDA_EMULATION_CUDA_RUNTIME_H_
