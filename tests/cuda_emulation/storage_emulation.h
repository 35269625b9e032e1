// Host versions of the conversions that cpp/cuda/storage.cuh does in PTX, from the bits.

#ifndef ALEXNET_CUDA_EMULATION_STORAGE_EMULATION_H_
#define ALEXNET_CUDA_EMULATION_STORAGE_EMULATION_H_

#include <cuda_runtime.h>

#include <cmath>

#include "alexnet/storage.h"

namespace alexnet::cuda {

inline float to_float(Float16 x) {
    const uint32_t sign = (x.bits >> 15) << 31, exponent = x.bits >> 10 & 31;
    const uint32_t fraction = x.bits & 1023;
    if (exponent == 31) return fraction ? NAN : __uint_as_float(sign | 0x7f800000);
    if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * static_cast<float>(fraction);
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

inline uint32_t rounded(float x, Bfloat16) {
    const uint32_t bits = __float_as_uint(x);
    return x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline uint32_t rounded(float x, Float16) {
    const uint32_t sign = std::signbit(x) ? 0x8000 : 0;
    if (x != x) return 0x7fff;
    const float size = std::fabs(x);
    if (size >= 65520) return sign | 0x7c00;  // half a step beyond the largest number, or more
    int exponent = -13;  // of the lowest binade, which the denormal numbers share
    if (size >= std::ldexp(1.0f, -14)) std::frexp(size, &exponent);
    // Steps of this binade; a carry into the next one is right in the bits as well.
    const auto steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(size, 11 - exponent)));
    return sign | (static_cast<uint32_t>(exponent + 13) * 1024 + steps);
}

template <class T>
uint32_t round_pair(float low, float high) {
    return rounded(high, T{}) << 16 | rounded(low, T{});
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_EMULATION_STORAGE_EMULATION_H_
