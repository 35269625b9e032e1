// Arrays of float, Bfloat16 and Float16 as kernels read and write them: neighbouring elements at
// once, 16 bytes where they may be aligned to that, as floats in registers.
//
// Numerics: reading is exact; writing rounds to nearest, ties to even. What is beyond the largest
// number becomes infinity; NaN stays NaN.

#ifndef ALEXNET_CUDA_STORAGE_CUH_
#define ALEXNET_CUDA_STORAGE_CUH_

#include "alexnet/storage.h"
#include "device.cuh"

#ifdef ALEXNET_CUDA_EMULATION
#include "storage_emulation.h"
#else

namespace alexnet::cuda {

__device__ __forceinline__ float to_float(Float16 x) {
    float result;
    asm("cvt.f32.f16 %0, %1;\n" : "=f"(result) : "h"(x.bits));
    return result;
}

// Two numbers, the first in the lower half.
template <class T>
__device__ uint32_t round_pair(float low, float high);

template <>
__device__ __forceinline__ uint32_t round_pair<Float16>(float low, float high) {
    uint32_t result;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(result) : "f"(high), "f"(low));
#else
    asm("{.reg .f16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h};}\n"
        : "=r"(result)
        : "f"(low), "f"(high));
#endif
    return result;
}

template <>
__device__ __forceinline__ uint32_t round_pair<Bfloat16>(float low, float high) {
    uint32_t result;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(result) : "f"(high), "f"(low));
#else
    const auto upper = [](float x) {
        const uint32_t bits = __float_as_uint(x);
        return x != x ? 0x7fffu : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    };
    result = upper(high) << 16 | upper(low);
#endif
    return result;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_EMULATION

namespace alexnet::cuda {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(Bfloat16 x) {
    return __uint_as_float(uint32_t{x.bits} << 16);
}

template <class T>
__device__ __forceinline__ T from_float(float x) {
    return {static_cast<uint16_t>(round_pair<T>(x, 0.0f))};
}
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}

// For explicit instantiations: `instantiate(T)` for every type that arrays may hold.
#define ALEXNET_FOR_STORED_TYPES(instantiate) \
    instantiate(float) instantiate(Bfloat16) instantiate(Float16)

// --- neighbouring elements ------------------------------------------------------------------------

template <class T>
constexpr int kVector = 16 / sizeof(T);  // elements of 16 bytes

template <int width>
struct Floats {
    float at[width];

    static __device__ __forceinline__ Floats of(float value) {
        Floats result;
#pragma unroll
        for (float& v : result.at) v = value;
        return result;
    }
};

// The bits of neighbouring elements, as memory has them.
template <int bytes>
struct alignas(bytes) Words {
    uint32_t at[bytes / 4];
};

// `width` neighbouring elements, aligned to all of their bytes where there are several.
template <int width, class T>
__device__ __forceinline__ Floats<width> load_floats(const T* p) {
    Floats<width> result;
    if constexpr (width == 1) {
        result.at[0] = to_float(*p);
    } else {
        const auto words = *reinterpret_cast<const Words<width * sizeof(T)>*>(p);
#pragma unroll
        for (int i = 0; i < width; ++i) {
            if constexpr (sizeof(T) == 4) {
                result.at[i] = __uint_as_float(words.at[i]);
            } else {
                const uint32_t pair = words.at[i / 2];
                result.at[i] = to_float(T{static_cast<uint16_t>(i % 2 ? pair >> 16 : pair)});
            }
        }
    }
    return result;
}

template <int width, class T>
__device__ __forceinline__ void store_floats(T* p, const Floats<width>& values) {
    if constexpr (width == 1) {
        *p = from_float<T>(values.at[0]);
    } else {
        Words<width * sizeof(T)> words;
#pragma unroll
        for (int i = 0; i < width; i += 4 / sizeof(T)) {
            if constexpr (sizeof(T) == 4) {
                words.at[i] = __float_as_uint(values.at[i]);
            } else {
                words.at[i / 2] = round_pair<T>(values.at[i], values.at[i + 1]);
            }
        }
        *reinterpret_cast<Words<width * sizeof(T)>*>(p) = words;
    }
}

// Whether all of several arrays can be read and written 16 bytes at a time, in runs of `run`
// elements that follow each other.
template <class T, class... Arrays>
bool fits_vectors(size_t run, const T* array, const Arrays*... arrays) {
    return run % kVector<T> == 0 && is_aligned16(array) && (is_aligned16(arrays) && ...);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_STORAGE_CUH_
