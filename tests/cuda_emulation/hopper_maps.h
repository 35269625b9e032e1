// What kernels that show faults of Hopper's have in common: maps of matrices, and where tiles begin.

#ifndef ALEXNET_CUDA_EMULATION_HOPPER_MAPS_H_
#define ALEXNET_CUDA_EMULATION_HOPPER_MAPS_H_

#include <pybind11/numpy.h>

#include <stdexcept>

#include "hopper_device.cuh"

namespace emulation::maps {

constexpr uint32_t kAlignment = 1024;

inline unsigned char* aligned_shared() {
    unsigned char* shared = alexnet::cuda::dynamic_shared<unsigned char>();
    return shared + (kAlignment - alexnet::cuda::shared_address(shared) % kAlignment) % kAlignment;
}

inline CUtensorMap matrix_map(const pybind11::array& x, uint32_t box_rows, uint32_t box_columns,
                              int swizzle) {
    const cuuint64_t size[] = {cuuint64_t(x.shape(1)), cuuint64_t(x.shape(0))};
    const cuuint64_t strides[] = {cuuint64_t(x.strides(0))};
    const cuuint32_t box[] = {box_columns, box_rows}, steps[] = {1, 1};
    CUtensorMap map;
    if (cuTensorMapEncodeTiled(
            &map,
            x.itemsize() == 4 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            2, const_cast<void*>(x.data()), size, strides, box, steps,
            CU_TENSOR_MAP_INTERLEAVE_NONE, CUtensorMapSwizzle(swizzle),
            CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
        throw std::invalid_argument("no such map");
    }
    return map;
}

}  // namespace emulation::maps

#endif  // ALEXNET_CUDA_EMULATION_HOPPER_MAPS_H_
