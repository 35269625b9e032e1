// bfloat16 in the vocabulary of simd.h. A bfloat16 is the upper half of a float32, so widening is a
// shift, and two neighbours are the halves of a 32-bit word (little-endian: the first is the lower).
//
//   widen_first(p), widen_second(p) = of kLanes pairs, the first or the second elements
//   store_upper_halves(p, v, w)      the inverse, where the lower halves are zeros
//   store_bf16(p, v) store_bf16_upto(p, v, n): rounded to nearest, ties to even; a NaN stays one
//
// Rounding is integer arithmetic also where there is vcvtneps2bf16, which would take subnormal
// numbers for 0.

#ifndef ALEXNET_CPU_MICROKERNELS_SIMD_BF16_H_
#define ALEXNET_CPU_MICROKERNELS_SIMD_BF16_H_

#include "bf16_kernels.h"
#include "simd.h"

// Whether the compiler knows the instructions of AVX512-BF16 and AMX.
#if defined(__clang__)
#define ALEXNET_BF16_COMPILER (__clang_major__ >= 12)
#else
#define ALEXNET_BF16_COMPILER (__GNUC__ >= 11)
#endif
#if defined(ALEXNET_ISA_AVX512) && ALEXNET_BF16_COMPILER
#define ALEXNET_BF16_INSTRUCTIONS
#endif

namespace alexnet::ALEXNET_ISA {

constexpr uint32_t kUpperHalf = 0xffff0000, kAbove = 0x7fff, kQuiet = 0x40;

ALEXNET_INLINE float widen_first(uint32_t pair) {
    const uint32_t bits = pair << 16;
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
ALEXNET_INLINE float widen_second(uint32_t pair) {
    const uint32_t bits = pair & kUpperHalf;
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
ALEXNET_INLINE uint32_t load_pair(const uint16_t* p) {
    uint32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return pair;
}

#if defined(ALEXNET_ISA_AVX512)

ALEXNET_INLINE Vec widen_first(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
}
ALEXNET_INLINE Vec widen_second(const uint16_t* p) {
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(kUpperHalf));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), mask));
}
ALEXNET_INLINE void store_upper_halves(uint16_t* p, Vec first, Vec second) {
    _mm512_storeu_si512(p, _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(first), 16),
                                           _mm512_castps_si512(second)));
}
ALEXNET_INLINE __m256i to_bf16(Vec v) {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(odd, _mm512_set1_epi32(kAbove));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, up), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(kQuiet));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, is_nan(v, v), quiet));
}
ALEXNET_INLINE void store_bf16(uint16_t* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v));
}
ALEXNET_INLINE void store_bf16_upto(uint16_t* p, Vec v, size_t n) {
    _mm256_mask_storeu_epi16(p, n >= kLanes ? 0xffff : tail_mask(n), to_bf16(v));
}

#else

#if defined(ALEXNET_ISA_AVX2)

ALEXNET_INLINE Vec widen_first(const uint16_t* p) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}
ALEXNET_INLINE Vec widen_second(const uint16_t* p) {
    const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(kUpperHalf)));
    return _mm256_and_ps(_mm256_loadu_ps(reinterpret_cast<const float*>(p)), mask);
}
ALEXNET_INLINE void store_upper_halves(uint16_t* p, Vec first, Vec second) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm256_or_si256(_mm256_srli_epi32(_mm256_castps_si256(first), 16),
                                        _mm256_castps_si256(second)));
}
ALEXNET_INLINE void store_bf16(uint16_t* p, Vec v) {
    const __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(odd, _mm256_set1_epi32(kAbove));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(kQuiet));
    const __m256i all = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan(v, v)));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}

#else

ALEXNET_INLINE Vec widen_first(const uint16_t* p) {
    Vec v;
    for (size_t i = 0; i < kLanes; ++i) v[i] = widen_first(load_pair(p + 2 * i));
    return v;
}
ALEXNET_INLINE Vec widen_second(const uint16_t* p) {
    Vec v;
    for (size_t i = 0; i < kLanes; ++i) v[i] = widen_second(load_pair(p + 2 * i));
    return v;
}
ALEXNET_INLINE void store_upper_halves(uint16_t* p, Vec first, Vec second) {
    for (size_t i = 0; i < kLanes; ++i) {
        uint32_t bits[2];
        const float pair[2] = {first[i], second[i]};
        __builtin_memcpy(bits, pair, sizeof bits);
        p[2 * i] = static_cast<uint16_t>(bits[0] >> 16);
        p[2 * i + 1] = static_cast<uint16_t>(bits[1] >> 16);
    }
}
ALEXNET_INLINE void store_bf16(uint16_t* p, Vec v) {
    for (size_t i = 0; i < kLanes; ++i) {
        const float x = v[i];
        uint32_t bits;
        __builtin_memcpy(&bits, &x, sizeof bits);
        const uint32_t rounded =
            x != x ? (bits >> 16) | kQuiet : (bits + kAbove + ((bits >> 16) & 1)) >> 16;
        p[i] = static_cast<uint16_t>(rounded);
    }
}

#endif

ALEXNET_INLINE void store_bf16_upto(uint16_t* p, Vec v, size_t n) {
    if (n >= kLanes) return store_bf16(p, v);
    uint16_t all[kLanes];
    store_bf16(all, v);
    for (size_t i = 0; i < n; ++i) p[i] = all[i];
}

#endif

void multiply_widening(const Bf16Block& block);
void max_pool2d_bf16_row(const PoolRow& row, const uint16_t* x, uint16_t* y);
#if defined(ALEXNET_BF16_INSTRUCTIONS)
void multiply_dot(const Bf16Block& block);
void multiply_tile(const Bf16Block& block);
#endif

// What the rows of a tile are multiplied from in a step: row i begins at a + i * row.
struct Bf16Operand {
    const uint16_t* a;
    size_t row;
};
ALEXNET_INLINE Bf16Operand operand(const Bf16Block& block, const Bf16Tile& tile, size_t step) {
    const size_t offset = block.offsets[step];
    if (step < block.in_place) return {tile.a + offset, block.a_row};
    return {tile.rest + offset, block.rest_row};
}

// Sums of one vector of columns of a tile's row, from `column` of the panel on, to the result.
ALEXNET_INLINE void store_sums(const Bf16Block& block, const Bf16Tile& tile, size_t row,
                               size_t column, Vec sums) {
    if (column >= block.columns || tile.c_rows[row] == kBf16NoRow) return;
    const size_t to = tile.c + tile.c_rows[row] + column, n = block.columns - column;
    if (block.bias) sums = add(sums, load_upto(block.bias + column, n));
    if (block.relu) sums = relu(sums);
    if (block.c) {
        store_upto(block.c + to, sums, n);
    } else {
        store_bf16_upto(block.c_bits + to, sums, n);
    }
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_SIMD_BF16_H_
