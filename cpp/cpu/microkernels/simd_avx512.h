// AVX-512 (F, BW, DQ, VL): 16 floats a vector, 32 registers, tails by mask. See simd.h.

#include <immintrin.h>

namespace alexnet::avx512 {

using Vec = __m512;
using Mask = __mmask16;
constexpr size_t kLanes = 16;

ALEXNET_INLINE Vec zero() { return _mm512_setzero_ps(); }
ALEXNET_INLINE Vec broadcast(float x) { return _mm512_set1_ps(x); }
ALEXNET_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
ALEXNET_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
ALEXNET_INLINE void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }
ALEXNET_INLINE void fence() { _mm_sfence(); }

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
// Selects the larger magnitude (3), with the sign cleared (2 << 2).
ALEXNET_INLINE Vec larger_magnitude(Vec x, Vec m) { return _mm512_range_ps(x, m, 11); }
ALEXNET_INLINE void reduce_max4(Vec a, Vec b, Vec c, Vec d, float* most) {
    const Vec ab = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const Vec cd = _mm512_max_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const Vec all = _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(most, _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
ALEXNET_INLINE Vec sqrt(Vec x) { return _mm512_sqrt_ps(x); }

ALEXNET_INLINE Mask same_bits(Vec a, Vec b) {
    return _mm512_cmpeq_epi32_mask(_mm512_castps_si512(a), _mm512_castps_si512(b));
}
ALEXNET_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm512_mask_mov_ps(b, m, a); }
ALEXNET_INLINE Mask is_nan(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
ALEXNET_INLINE Mask either(Mask a, Mask b) { return _kor_mask16(a, b); }
ALEXNET_INLINE bool any(Mask m) { return m != 0; }

template <size_t kFirst>
ALEXNET_INLINE Vec concat(Vec a, Vec b) {
    return _mm512_castsi512_ps(
        _mm512_alignr_epi32(_mm512_castps_si512(b), _mm512_castps_si512(a), kFirst));
}

using Order = __m512i;
ALEXNET_INLINE Order load_order(const int32_t* p) { return _mm512_loadu_si512(p); }
ALEXNET_INLINE Vec pick(Vec a, Vec b, Order order) { return _mm512_permutex2var_ps(a, order, b); }

ALEXNET_INLINE Vec zip_low(Vec a, Vec b) {
    const __m512i order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, order, b);
}
ALEXNET_INLINE Vec zip_high(Vec a, Vec b) {
    const __m512i order =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, order, b);
}

// vmaxps returns its second operand when either is NaN.
ALEXNET_INLINE Vec at_least(Vec low, Vec x) { return _mm512_max_ps(low, x); }
ALEXNET_INLINE Vec relu(Vec x) { return at_least(zero(), x); }
ALEXNET_INLINE Vec max_nan(Vec a, Vec b) {
    const Mask a_is_number = _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q);
    return select(_mm512_mask_cmp_ps_mask(a_is_number, b, a, _CMP_NLE_UQ), b, a);
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

// From an estimate r = x^-1/2·(1 + d) with |d| < 1e-4: the residual e = 1 - x·r² is exact to
// rounding, and x^-3/4 = r^3/2·(1-e)^-3/4 = 3/4·r^3/2·(4/3 + e), to first order, which is off by
// less than 3e-8. The unit of x makes up for the factor 3/4. Of infinity r is 0, and the residual
// NaN, which at_least would keep: vmaxps, the other way round, takes any number instead.
constexpr double kPowerUnit = 1.4675232217309452;  // (4/3)^(4/3)

ALEXNET_INLINE Vec three_quarter_power(Vec x) {
    const Vec r = _mm512_rsqrt14_ps(x);
    const Vec residual = fnma(mul(x, r), r, broadcast(7.0f / 3));
    return mul(mul(r, sqrt(r)), _mm512_max_ps(residual, broadcast(1.0f)));
}

ALEXNET_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, float* sums) {
    const Vec ab = add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const Vec cd = add(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const Vec all = add(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

using Double = __m512d;

ALEXNET_INLINE Double broadcast_double(double x) { return _mm512_set1_pd(x); }
ALEXNET_INLINE Double load(const double* p) { return _mm512_loadu_pd(p); }
ALEXNET_INLINE void store(double* p, Double d) { _mm512_storeu_pd(p, d); }
ALEXNET_INLINE Double widen_low(Vec v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
ALEXNET_INLINE Double widen_high(Vec v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
ALEXNET_INLINE Vec narrow(Double low, Double high) {
    const Vec v = _mm512_castps256_ps512(_mm512_cvtpd_ps(low));
    return _mm512_insertf32x8(v, _mm512_cvtpd_ps(high), 1);
}
ALEXNET_INLINE Double fma(Double a, Double b, Double c) { return _mm512_fmadd_pd(a, b, c); }
ALEXNET_INLINE double reduce_add(Double d) {
    const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(d), _mm512_extractf64x4_pd(d, 1));
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

typedef uint64_t Words __attribute__((vector_size(64)));

ALEXNET_INLINE Words multiply_low32(Words a, Words b) {
    return (Words)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
// A shuffle, not a shift: shifts and multiplications share a port on Intel's processors.
ALEXNET_INLINE Words high32(Words w) {
    return (Words)_mm512_shuffle_epi32((__m512i)w, _MM_PERM_DDBB);
}
ALEXNET_INLINE Words interleave_even(Words a, Words b) {
    return (Words)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b);
}
ALEXNET_INLINE Words interleave_odd(Words a, Words b) {
    return (Words)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b);
}
ALEXNET_INLINE Vec select_above(Words w, uint32_t limit, Vec x) {
    const __m512i limits = _mm512_set1_epi32(static_cast<int>(limit));
    return _mm512_maskz_mov_ps(_mm512_cmpgt_epu32_mask((__m512i)w, limits), x);
}

}  // namespace alexnet::avx512
