// Tensor maps as the driver makes them: what the documentation of cuTensorMapEncodeTiled and
// cuTensorMapEncodeIm2col (CUDA 13.0, cuda.h) refuses is refused here.

#include <cuda.h>

#include <cstdlib>
#include <cstring>

#include "emulation.h"

namespace emulation {

int device_attribute(int which) {
    const char* multiprocessors = std::getenv("ALEXNET_EMULATED_MULTIPROCESSORS");
    if (which == 0) return multiprocessors ? std::atoi(multiprocessors) : 132;
    const char* capability = std::getenv("ALEXNET_EMULATED_CAPABILITY");
    if (!capability) capability = "8.0";
    return std::atoi(which == 1 ? capability : std::strchr(capability, '.') + 1);
}

void* driver_function(const char* name) {
    if (std::strcmp(name, "cuTensorMapEncodeTiled") == 0) {
        return reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
    }
    if (std::strcmp(name, "cuTensorMapEncodeIm2col") == 0) {
        return reinterpret_cast<void*>(&cuTensorMapEncodeIm2col);
    }
    return nullptr;
}

}  // namespace emulation

namespace {

// What both kinds have in common; false where something is not allowed.
bool describe(CUtensorMap& map, CUtensorMapDataType type, cuuint32_t rank, const void* data,
              const cuuint64_t* size, const cuuint64_t* strides, const cuuint32_t* steps,
              CUtensorMapSwizzle swizzle) {
    map = {};
    map.element = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
    map.swizzle = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16u << swizzle;
    map.data = static_cast<const unsigned char*>(data);
    map.rank = rank;
    if (reinterpret_cast<uintptr_t>(data) % 16 != 0) return false;
    for (unsigned i = 0; i < rank; ++i) {
        if (size[i] == 0 || size[i] > uint64_t{1} << 32) return false;
        if (steps[i] == 0 || steps[i] > 8) return false;
        map.size[i] = size[i];
        map.step[i] = i == 0 ? 1 : steps[i];  // that of dimension zero is ignored
        map.stride[i] = i == 0 ? map.element : strides[i - 1];
        if (i > 0 && (map.stride[i] % 16 != 0 || map.stride[i] >= uint64_t{1} << 40)) return false;
    }
    return true;
}

// The rows of a box in shared memory: whole multiples of 16 bytes, and no longer than what the
// swizzle permutes.
bool fits(const CUtensorMap& map, cuuint32_t row) {
    const uint64_t bytes = uint64_t{row} * map.element;
    return bytes % 16 == 0 && (map.swizzle == 0 || bytes <= map.swizzle);
}

}  // namespace

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* data, const cuuint64_t* size, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* steps,
                                CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
    if (rank < 1 || rank > kMostTensorDimensions) return CUDA_ERROR_INVALID_VALUE;
    if (!describe(*map, type, rank, data, size, strides, steps, swizzle)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (unsigned i = 0; i < rank; ++i) {
        if (box[i] == 0 || box[i] > 256) return CUDA_ERROR_INVALID_VALUE;
        map->box[i] = box[i];
    }
    return fits(*map, box[0]) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuTensorMapEncodeIm2col(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                 void* data, const cuuint64_t* size, const cuuint64_t* strides,
                                 const int* lower, const int* upper, cuuint32_t channels,
                                 cuuint32_t pixels, const cuuint32_t* steps, CUtensorMapInterleave,
                                 CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill) {
    if (rank < 3 || rank > kMostTensorDimensions) return CUDA_ERROR_INVALID_VALUE;
    if (!describe(*map, type, rank, data, size, strides, steps, swizzle)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    map->windows = true;
    map->channels = channels;
    map->pixels = pixels;
    if (channels == 0 || channels > 256 || pixels == 0 || pixels > 1024) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    const int least[] = {-32768, -128, -16};
    for (unsigned i = 0; i < rank - 2; ++i) {
        for (const int corner : {lower[i], upper[i]}) {
            if (corner < least[rank - 3] || corner > -least[rank - 3] - 1) {
                return CUDA_ERROR_INVALID_VALUE;
            }
        }
        map->lower[i] = lower[i];
        map->upper[i] = upper[i];
        if (static_cast<int64_t>(size[i + 1]) + upper[i] <= lower[i]) {
            return CUDA_ERROR_INVALID_VALUE;  // an empty box
        }
    }
    return fits(*map, channels) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
