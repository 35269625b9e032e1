// AVX-512 (F, BW, DQ, VL): 16 floats a vector, 32 registers, tails by mask. See simd.h.

#include <immintrin.h>

namespace alexnet::avx512 {

using Vec = __m512;
constexpr size_t kLanes = 16;

ALEXNET_INLINE Vec zero() { return _mm512_setzero_ps(); }
ALEXNET_INLINE Vec broadcast(float x) { return _mm512_set1_ps(x); }
ALEXNET_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
ALEXNET_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
ALEXNET_INLINE void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }

ALEXNET_INLINE __mmask16 tail_mask(size_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
ALEXNET_INLINE Vec load_tail(const float* p, size_t n) {
    return _mm512_maskz_loadu_ps(tail_mask(n), p);
}
ALEXNET_INLINE void store_tail(float* p, Vec v, size_t n) {
    _mm512_mask_storeu_ps(p, tail_mask(n), v);
}

ALEXNET_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
ALEXNET_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
ALEXNET_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
ALEXNET_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
ALEXNET_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
ALEXNET_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
ALEXNET_INLINE Vec sqrt(Vec x) { return _mm512_sqrt_ps(x); }

// vmaxps returns its second operand when either is NaN.
ALEXNET_INLINE Vec relu(Vec x) { return _mm512_max_ps(zero(), x); }
ALEXNET_INLINE Vec max_nan(Vec a, Vec b) {
    const __mmask16 a_is_nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    return _mm512_mask_mov_ps(_mm512_max_ps(a, b), a_is_nan, a);
}
ALEXNET_INLINE Vec select_positive(Vec m, Vec x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(m, zero(), _CMP_GT_OQ), x);
}

// 14 bits from the instruction, doubled by one Newton step. The step would turn the right answers
// for 0 (infinity) and infinity (0) into NaN, so there the estimate is kept.
ALEXNET_INLINE Vec rsqrt(Vec x) {
    const Vec r = _mm512_rsqrt14_ps(x);
    const Vec half_xr = mul(mul(broadcast(0.5f), x), r);
    const Vec refined = mul(r, fnma(half_xr, r, broadcast(1.5f)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(refined, refined, _CMP_UNORD_Q);
    return _mm512_mask_mov_ps(refined, is_nan, r);
}

ALEXNET_INLINE float reduce_add(Vec v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

}  // namespace alexnet::avx512
