// Numbers side by side in registers of 32 bits: one float, or two of 16 bits, the first in the lower
// half. Comparisons, maxima and masks of all of a register at once.
//
// What compares gives masks, all bits of a number set or none. Devices that have no instruction for a
// type, and the emulation, widen each number instead (bfloat16 before 9.0, all before 8.0).
//
// Numerics: everything is exact. Of -0 and 0 the maximum is 0; they are equal. The maximum of NaN and
// anything is NaN, of whatever bits.

#ifndef ALEXNET_CUDA_PACKED_CUH_
#define ALEXNET_CUDA_PACKED_CUH_

#include <type_traits>

#include "storage.cuh"

namespace alexnet::cuda {

template <class T>
constexpr int kInWord = 4 / sizeof(T);  // numbers of a register

#if defined(ALEXNET_CUDA_EMULATION) || !defined(__CUDA_ARCH__)
constexpr int kPackedArchitecture = 0;
#else
constexpr int kPackedArchitecture = __CUDA_ARCH__;
#endif

// Whether the device has instructions for maxima of T; for comparisons.
template <class T>
constexpr bool kHasMaxima = kPackedArchitecture >= 800;
template <class T>
constexpr bool kHasComparisons = kPackedArchitecture >= (std::is_same_v<T, Bfloat16> ? 900 : 800);

// Of all bits of the mask those of `a`, of all others those of `b`.
__device__ __forceinline__ uint32_t either(uint32_t mask, uint32_t a, uint32_t b) {
    return (mask & a) | (~mask & b);
}

// --- one number of a register ---------------------------------------------------------------------

template <class T>
__device__ __forceinline__ float unpack(uint32_t word, int i) {
    if constexpr (sizeof(T) == 4) {
        return __uint_as_float(word);
    } else {
        return to_float(T{static_cast<uint16_t>(i ? word >> 16 : word)});
    }
}

// The number of all bits `bits` in each place.
template <class T>
__host__ __device__ constexpr uint32_t repeated(uint32_t bits) {
    return sizeof(T) == 4 ? bits : bits << 16 | bits;
}

template <class T>
constexpr uint32_t kNegativeInfinity = repeated<T>(sizeof(T) == 4                ? 0xff800000
                                                   : std::is_same_v<T, Bfloat16> ? 0xff80
                                                                                 : 0xfc00);

// A mask of function(i) for each place i.
template <class T, class Function>
__device__ __forceinline__ uint32_t mask_of(const Function& function) {
    if constexpr (sizeof(T) == 4) {
        return function(0) ? 0xffffffff : 0;
    } else {
        return (function(0) ? 0xffff : 0) | (function(1) ? 0xffff0000 : 0);
    }
}

// --- all of a register ----------------------------------------------------------------------------

#if !defined(ALEXNET_CUDA_EMULATION)
#define ALEXNET_CUDA_PACKED(instruction)                                         \
    if constexpr (std::is_same_v<T, float>) {                                    \
        asm(instruction "f32 %0, %1, %2;\n" : "=r"(result) : "r"(a), "r"(b));    \
    } else if constexpr (std::is_same_v<T, Float16>) {                           \
        asm(instruction "f16x2 %0, %1, %2;\n" : "=r"(result) : "r"(a), "r"(b));  \
    } else {                                                                     \
        asm(instruction "bf16x2 %0, %1, %2;\n" : "=r"(result) : "r"(a), "r"(b)); \
    }                                                                            \
    return result
#else
#define ALEXNET_CUDA_PACKED(instruction) return result
#endif

template <class T>
__device__ __forceinline__ uint32_t maxima(uint32_t a, uint32_t b) {
    if constexpr (kHasMaxima<T>) {
        uint32_t result = 0;
        ALEXNET_CUDA_PACKED("max.NaN.");
    } else {
        const uint32_t takes_b = mask_of<T>([&](int i) {
            const float of_a = unpack<T>(a, i), of_b = unpack<T>(b, i);
            return of_b > of_a || of_b != of_b;
        });
        const uint32_t zeros =
            mask_of<T>([&](int i) { return unpack<T>(a, i) == 0 && unpack<T>(b, i) == 0; });
        return either(zeros, a & b, either(takes_b, b, a));
    }
}

template <class T>
__device__ __forceinline__ uint32_t are_equal(uint32_t a, uint32_t b) {
    if constexpr (kHasComparisons<T>) {
        uint32_t result = 0;
        ALEXNET_CUDA_PACKED("set.eq.u32.");
    } else {
        return mask_of<T>([&](int i) { return unpack<T>(a, i) == unpack<T>(b, i); });
    }
}

template <class T>
__device__ __forceinline__ uint32_t are_greater(uint32_t a, uint32_t b) {
    if constexpr (kHasComparisons<T>) {
        uint32_t result = 0;
        ALEXNET_CUDA_PACKED("set.gt.u32.");
    } else {
        return mask_of<T>([&](int i) { return unpack<T>(a, i) > unpack<T>(b, i); });
    }
}

template <class T>
__device__ __forceinline__ uint32_t are_nan(uint32_t a) {
    if constexpr (kHasComparisons<T>) {
        uint32_t result = 0;
        const uint32_t b = a;
        ALEXNET_CUDA_PACKED("set.nan.u32.");
    } else {
        return mask_of<T>([&](int i) { return unpack<T>(a, i) != unpack<T>(a, i); });
    }
}
#undef ALEXNET_CUDA_PACKED

// Of small integers, at most 1023, instead of numbers of T.
template <class T>
__device__ __forceinline__ uint32_t are_same(uint32_t a, uint32_t b) {
    // As numbers they are too small to be normal, and compare as the integers do.
    return are_equal<std::conditional_t<sizeof(T) == 4, float, Float16>>(a, b);
}

// --- 16 bytes of an array -------------------------------------------------------------------------

constexpr int kWords = 4;  // of 16 bytes

template <class T>
__device__ __forceinline__ Words<16> load_words(const T* p) {
    return *reinterpret_cast<const Words<16>*>(p);
}
template <class T>
__device__ __forceinline__ void store_words(T* p, const Words<16>& words) {
    *reinterpret_cast<Words<16>*>(p) = words;
}

// A byte for each number of 16 bytes of T.
template <class T>
__device__ __forceinline__ Words<kVector<T>> load_bytes(const uint8_t* p) {
    return *reinterpret_cast<const Words<kVector<T>>*>(p);
}
template <class T>
__device__ __forceinline__ void store_bytes(uint8_t* p, const Words<kVector<T>>& bytes) {
    *reinterpret_cast<Words<kVector<T>>*>(p) = bytes;
}

// The lowest of each number, and back.
template <class T>
__device__ __forceinline__ Words<kVector<T>> bytes_of(const Words<16>& words) {
    Words<kVector<T>> result;
    const auto& w = words.at;
    if constexpr (sizeof(T) == 4) {
        const uint32_t low = __byte_perm(w[0], w[1], 0x0040),
                       high = __byte_perm(w[2], w[3], 0x0040);
        result.at[0] = __byte_perm(low, high, 0x5410);
    } else {
        result.at[0] = __byte_perm(w[0], w[1], 0x6420);
        result.at[1] = __byte_perm(w[2], w[3], 0x6420);
    }
    return result;
}
template <class T>
__device__ __forceinline__ Words<16> from_bytes(const Words<kVector<T>>& bytes) {
    Words<16> result;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        if constexpr (sizeof(T) == 4) {
            result.at[i] = bytes.at[0] >> 8 * i & 0xff;
        } else {
            result.at[i] = __byte_perm(bytes.at[i / 2], 0, i % 2 ? 0x4342 : 0x4140);
        }
    }
    return result;
}

// The numbers of 16 bytes, and back, rounded.
template <class T>
__device__ __forceinline__ Floats<kVector<T>> to_floats(const Words<16>& words) {
    Floats<kVector<T>> result;
#pragma unroll
    for (int c = 0; c < kVector<T>; ++c) {
        result.at[c] = unpack<T>(words.at[c / kInWord<T>], c % kInWord<T>);
    }
    return result;
}
template <class T>
__device__ __forceinline__ Words<16> to_words(const Floats<kVector<T>>& values) {
    Words<16> result;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
        if constexpr (sizeof(T) == 4) {
            result.at[i] = __float_as_uint(values.at[i]);
        } else {
            result.at[i] = round_pair<T>(values.at[2 * i], values.at[2 * i + 1]);
        }
    }
    return result;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_PACKED_CUH_
