// Tensor maps, which tell the tensor copy engine what an array looks like and which box of it to
// copy. The driver makes them, on the host.
//
// Boxes have rows of 128 bytes, 32 elements of float or 64 of 16 bits, which come into shared memory
// with a swizzle of 128 bytes (or of 64, where a product has 96 columns), or are pieces of one image line,
// which come as they are; what lies outside of the tensor is zero, and its bytes count as well. A box
// begins at a multiple of 16 bytes of the first dimension, inside or outside: elsewhere the copy is an
// illegal instruction, which the documentation does not say.

#ifndef ALEXNET_CUDA_HOPPER_TENSOR_MAP_CUH_
#define ALEXNET_CUDA_HOPPER_TENSOR_MAP_CUH_

#include <cuda.h>

#include <stdexcept>
#include <string>
#include <type_traits>

#include "alexnet/storage.h"
#include "launch.cuh"

namespace alexnet::cuda {

template <class T>
constexpr cuuint32_t kMapRow = 128 / sizeof(T);

template <class T>
constexpr CUtensorMapDataType map_type() {
    if (std::is_same_v<T, Bfloat16>) return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    if (std::is_same_v<T, Float16>) return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
}

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

// An array of up to three dimensions, neighbours first: sizes, and steps of all but the first in
// elements. Boxes are of one matrix, of `box_rows` rows.
template <class T, unsigned rank>
CUtensorMap array_map(const T* data, const cuuint64_t (&size)[rank],
                      const size_t (&steps)[rank - 1], size_t box_rows,
                      cuuint32_t box_columns = kMapRow<T>,
                      CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_128B) {
    static const auto encode =
        driver_function<decltype(cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
    cuuint64_t strides[rank - 1];
    for (unsigned i = 0; i < rank - 1; ++i) strides[i] = steps[i] * sizeof(T);
    const cuuint32_t box[] = {box_columns, static_cast<cuuint32_t>(box_rows), 1};
    const cuuint32_t all[] = {1, 1, 1};
    CUtensorMap map;
    check_map(encode(&map, map_type<T>(), rank, const_cast<T*>(data), size, strides, box, all,
                     CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                     CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              "cuTensorMapEncodeTiled");
    return map;
}

template <class T>
CUtensorMap matrix_map(const T* data, size_t rows, size_t columns, size_t stride, size_t box_rows) {
    return array_map<T, 2>(data, {columns, rows}, {stride}, box_rows);
}

// Images whose lines are of `elements` without gaps: `box_elements` of one line are copied.
template <class T>
CUtensorMap lines_map(const T* data, size_t images, size_t lines, size_t elements,
                      size_t box_elements) {
    return array_map<T, 3>(data, {elements, lines, images}, {elements, elements * lines}, 1,
                           static_cast<cuuint32_t>(box_elements), CU_TENSOR_MAP_SWIZZLE_NONE);
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

// Images (n, h, w, channels) whose pixels are `stride` elements apart: a row of channels under one
// tap of `box_windows` windows is copied (im2col mode).
template <class T>
CUtensorMap windows_map(const T* data, size_t images, const WindowAxis& h, const WindowAxis& w,
                        size_t channels, size_t stride, size_t box_windows) {
    static const auto encode =
        driver_function<decltype(cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
    const cuuint64_t pixel = stride * sizeof(T);
    const cuuint64_t size[] = {channels, w.pixels, h.pixels, images};
    const cuuint64_t strides[] = {pixel, pixel * w.pixels, pixel * w.pixels * h.pixels};
    const int lower[] = {static_cast<int>(w.first), static_cast<int>(h.first)};
    const int upper[] = {static_cast<int>(w.last()), static_cast<int>(h.last())};
    const cuuint32_t steps[] = {1, static_cast<cuuint32_t>(w.stride),
                                static_cast<cuuint32_t>(h.stride), 1};
    CUtensorMap map;
    check_map(encode(&map, map_type<T>(), 4, const_cast<T*>(data), size, strides, lower, upper,
                     kMapRow<T>, static_cast<cuuint32_t>(box_windows), steps,
                     CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
              "cuTensorMapEncodeIm2col");
    return map;
}

// Bytes of images below which they are left to the other kernels: drivers up to 13.1 set a wrong bit
// in maps of smaller ones (CUTLASS corrects it in cute/atom/copy_traits_sm90_im2col.hpp, and of tiles as
// well; NVIDIA's release notes of driver 595.71.05 speak of Blackwell and of arrays with gaps alone).
#ifdef ALEXNET_CUDA_EMULATION
constexpr size_t kLeastMappedBytes = 0;
#else
constexpr size_t kLeastMappedBytes = 128 * 1024;
#endif

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_TENSOR_MAP_CUH_
