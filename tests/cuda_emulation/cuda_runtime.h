// CUDA on the host, as far as the kernels of cpp/cuda use it: keywords, vector types, intrinsics
// and the part of the runtime that launches. emulation.h says how blocks are run.

#ifndef ALEXNET_CUDA_EMULATION_CUDA_RUNTIME_H_
#define ALEXNET_CUDA_EMULATION_CUDA_RUNTIME_H_

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>

#include "capture.h"
#include "emulation.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
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

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
    return emulation::exchange(mask, value, source % 32, {file, line});
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

// Byte i is byte (selector >> 4i) & 7 of the eight of `high` and `low`.
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
    const uint64_t bytes = uint64_t{high} << 32 | low;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
        result |= static_cast<uint32_t>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    }
    return result;
}

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline size_t min(size_t a, size_t b) { return a < b ? a : b; }
inline size_t max(size_t a, size_t b) { return a < b ? b : a; }
using std::isfinite;

// --- runtime -------------------------------------------------------------------------------------

using cudaStream_t = struct CUstream_st*;

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureImplicit = 906,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        struct {
            unsigned x, y, z;
        } clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute* attrs;
    unsigned numAttrs;
};

// The device that is emulated: ALEXNET_EMULATED_CAPABILITY, by default 8.0, decides which kernels are
// launched, ALEXNET_EMULATED_MULTIPROCESSORS, by default 132, how many blocks persistent ones have.
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
};
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = emulation::device_attribute(attribute == cudaDevAttrMultiProcessorCount      ? 0
                                         : attribute == cudaDevAttrComputeCapabilityMajor ? 1
                                                                                          : 2);
    return cudaSuccess;
}

// Functions of the driver, by name: those of cuda.h that exist.
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0 };
enum { cudaEnableDefault = 0 };
inline cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long,
                                           cudaDriverEntryPointQueryResult* found) {
    *function = emulation::driver_function(name);
    *found = cudaDriverEntryPointSuccess;
    return *function ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
    if (error == cudaErrorLaunchFailure) return emulation::last_fault();
    if (error == cudaErrorStreamCaptureImplicit) return "launch on a stream beside a captured one";
    return "invalid value";
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

// Run the kernel or, on a stream that is captured, note it with copies of its arguments.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    using emulation::capture::Place;
    emulation::Launch launch = {config->gridDim, config->blockDim, 1, config->dynamicSmemBytes,
                                reinterpret_cast<const void*>(kernel)};
    for (unsigned i = 0; i < config->numAttrs; ++i) {  // there is one kind alone
        const auto& cluster = config->attrs[i].val.clusterDim;
        if (cluster.y != 1 || cluster.z != 1) return cudaErrorInvalidValue;
        launch.cluster = cluster.x;
    }
    if (!emulation::is_possible(launch)) return cudaErrorInvalidValue;
    const auto run = [launch, kernel, copies = std::tuple<Parameters...>(arguments...)] {
        const auto thread = [&] { std::apply(kernel, copies); };
        return emulation::run(launch, std::ref(thread));
    };
    const Place place = emulation::capture::place_of(config->stream);
    if (place == Place::kForbidden) return cudaErrorStreamCaptureImplicit;
    if (place == Place::kRun) return run() ? cudaSuccess : cudaErrorLaunchFailure;
    emulation::capture::record([run] {
        if (!run()) throw std::runtime_error(std::string("graph: ") + emulation::last_fault());
    });
    return cudaSuccess;
}

#endif  // ALEXNET_CUDA_EMULATION_CUDA_RUNTIME_H_
