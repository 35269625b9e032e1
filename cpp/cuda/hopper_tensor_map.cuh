// Tensor maps, which tell the tensor copy engine what an array looks like and which box of it to
// copy. The driver makes them, on the host.
//
// All are of floats whose boxes have rows of 32, that is 128 bytes, which come into shared memory
// with a swizzle of 128 bytes; what lies outside of the tensor is zero.

#ifndef ALEXNET_CUDA_HOPPER_TENSOR_MAP_CUH_
#define ALEXNET_CUDA_HOPPER_TENSOR_MAP_CUH_

#include <cuda.h>

#include <stdexcept>
#include <string>

#include "launch.cuh"

namespace alexnet::cuda {

constexpr cuuint32_t kMapRow = 32;  // floats

// A function of the driver, found without linking to it.
template <typename Function>
Function* driver_function(const char* name) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found),
          name);
#else
    check(cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &found), name);
#endif
    if (found != cudaDriverEntryPointSuccess || function == nullptr) {
        throw std::runtime_error(std::string(name) + ": the driver does not have it");
    }
    return reinterpret_cast<Function*>(function);
}

inline void check_map(CUresult result, const char* name) {
    if (result == CUDA_SUCCESS) return;
    throw std::runtime_error(std::string(name) + ": error " + std::to_string(int{result}));
}

// A matrix, rows `stride` floats apart, of which 32 columns of `box_rows` rows are copied.
inline CUtensorMap matrix_map(const float* data, size_t rows, size_t columns, size_t stride,
                              size_t box_rows) {
    static const auto encode =
        driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
    const cuuint64_t size[] = {columns, rows}, strides[] = {stride * sizeof(float)};
    const cuuint32_t box[] = {kMapRow, static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
    CUtensorMap map;
    check_map(encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, const_cast<float*>(data), size,
                     strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              "cuTensorMapEncodeTiled");
    return map;
}

// Along one axis: pixels of the image, and windows from pixel `first` on, `stride` apart.
struct WindowAxis {
    size_t pixels, windows, stride;
    int64_t first;

    // Between the last pixel and the first one of the last window.
    int64_t last() const {
        return first + static_cast<int64_t>((windows - 1) * stride) -
               static_cast<int64_t>(pixels - 1);
    }
    // What maps of images can describe.
    bool is_possible() const {
        return first >= -128 && first <= 127 && last() >= -128 && last() <= 127 && stride <= 8;
    }
};

// Images (n, h, w, channels) whose pixels are `stride` floats apart: 32 channels under one tap of
// `box_windows` windows are copied (im2col mode).
inline CUtensorMap windows_map(const float* data, size_t images, const WindowAxis& h,
                               const WindowAxis& w, size_t channels, size_t stride,
                               size_t box_windows) {
    static const auto encode =
        driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
    const cuuint64_t pixel = stride * sizeof(float);
    const cuuint64_t size[] = {channels, w.pixels, h.pixels, images};
    const cuuint64_t strides[] = {pixel, pixel * w.pixels, pixel * w.pixels * h.pixels};
    const int lower[] = {static_cast<int>(w.first), static_cast<int>(h.first)};
    const int upper[] = {static_cast<int>(w.last()), static_cast<int>(h.last())};
    const cuuint32_t steps[] = {1, static_cast<cuuint32_t>(w.stride),
                                static_cast<cuuint32_t>(h.stride), 1};
    CUtensorMap map;
    check_map(encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, const_cast<float*>(data), size,
                     strides, lower, upper, kMapRow, static_cast<cuuint32_t>(box_windows), steps,
                     CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              "cuTensorMapEncodeIm2col");
    return map;
}

// Bytes of images below which they are left to the other kernels: drivers up to 13.1 set a wrong bit
// in maps of smaller ones (CUTLASS corrects it in cute/atom/copy_traits_sm90_im2col.hpp).
#ifdef ALEXNET_CUDA_EMULATION
constexpr size_t kLeastMappedBytes = 0;
#else
constexpr size_t kLeastMappedBytes = 128 * 1024;
#endif

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_TENSOR_MAP_CUH_
