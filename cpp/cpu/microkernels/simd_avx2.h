// AVX2 and FMA: 8 floats a vector, 16 registers, tails by vmaskmov. See simd.h.

#include <immintrin.h>

namespace alexnet::avx2 {

using Vec = __m256;
using Mask = __m256;
constexpr size_t kLanes = 8;

ALEXNET_INLINE Vec zero() { return _mm256_setzero_ps(); }
ALEXNET_INLINE Vec broadcast(float x) { return _mm256_set1_ps(x); }
ALEXNET_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
ALEXNET_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
ALEXNET_INLINE void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }
ALEXNET_INLINE void fence() { _mm_sfence(); }

ALEXNET_INLINE __m256i tail_mask(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
ALEXNET_INLINE Vec load_tail(const float* p, size_t n) {
    return _mm256_maskload_ps(p, tail_mask(n));
}
// In pieces: vmaskmovps to memory takes a dozen cycles on AMD's processors.
ALEXNET_INLINE void store_tail(float* p, Vec v, size_t n) {
    if (n & 8) return _mm256_storeu_ps(p, v);
    __m128 rest = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
}

ALEXNET_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
ALEXNET_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
ALEXNET_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
ALEXNET_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
ALEXNET_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
ALEXNET_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
ALEXNET_INLINE Vec larger_magnitude(Vec x, Vec m) {
    return _mm256_max_ps(_mm256_andnot_ps(broadcast(-0.0f), x), m);
}
ALEXNET_INLINE void reduce_max4(Vec a, Vec b, Vec c, Vec d, float* most) {
    const Vec ab = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const Vec cd = _mm256_max_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const Vec all = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    _mm_storeu_ps(most, _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}
ALEXNET_INLINE Vec sqrt(Vec x) { return _mm256_sqrt_ps(x); }

ALEXNET_INLINE Mask same_bits(Vec a, Vec b) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
ALEXNET_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm256_blendv_ps(b, a, m); }
ALEXNET_INLINE Mask is_nan(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
ALEXNET_INLINE Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
ALEXNET_INLINE bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }

// vmaxps returns its second operand when either is NaN.
ALEXNET_INLINE Vec at_least(Vec low, Vec x) { return _mm256_max_ps(low, x); }
ALEXNET_INLINE Vec relu(Vec x) { return at_least(zero(), x); }
ALEXNET_INLINE Vec max_nan(Vec a, Vec b) {
    const Mask a_is_number = _mm256_cmp_ps(a, a, _CMP_ORD_Q);
    return select(_mm256_and_ps(a_is_number, _mm256_cmp_ps(b, a, _CMP_NLE_UQ)), b, a);
}
ALEXNET_INLINE Vec select_positive(Vec m, Vec x) {
    return _mm256_and_ps(_mm256_cmp_ps(m, zero(), _CMP_GT_OQ), x);
}

// The AVX estimate has 12 bits and flushes denormals; a division is exact enough and simpler.
ALEXNET_INLINE Vec rsqrt(Vec x) { return div(broadcast(1.0f), sqrt(x)); }

// From two estimates, u = x^-1/4·(1 + d) with |d| < 6e-4: the residual e = 1 - x·u^4 is exact to
// rounding, and x^-3/4 = u^3·(1-e)^-3/4, here to second order.
constexpr double kPowerUnit = 1;

ALEXNET_INLINE Vec three_quarter_power(Vec x) {
    const Vec r = _mm256_rsqrt_ps(x);
    const Vec u = mul(r, _mm256_rsqrt_ps(r));
    const Vec u2 = mul(u, u), u3 = mul(u, u2);
    const Vec e = fnma(mul(x, u2), u2, broadcast(1.0f));
    const Vec factor = fma(e, broadcast(0.65625f), broadcast(0.75f));
    const Mask finite = _mm256_cmp_ps(x, broadcast(__builtin_inff()), _CMP_NEQ_UQ);
    return _mm256_and_ps(finite, fma(mul(u3, e), factor, u3));
}

using Order = __m256i;
ALEXNET_INLINE Order load_order(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
// The shuffle looks at three bits of a lane's number, and the blend at its sign: bit 3 is moved up.
ALEXNET_INLINE Vec pick(Vec a, Vec b, Order order) {
    const Vec from_b = _mm256_castsi256_ps(_mm256_slli_epi32(order, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a, order), _mm256_permutevar8x32_ps(b, order),
                            from_b);
}

ALEXNET_INLINE Vec zip_low(Vec a, Vec b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}
ALEXNET_INLINE Vec zip_high(Vec a, Vec b) {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}

ALEXNET_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, float* sums) {
    const Vec ab = add(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const Vec cd = add(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const Vec all = add(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

using Double = __m256d;

ALEXNET_INLINE Double broadcast_double(double x) { return _mm256_set1_pd(x); }
ALEXNET_INLINE Double load(const double* p) { return _mm256_loadu_pd(p); }
ALEXNET_INLINE void store(double* p, Double d) { _mm256_storeu_pd(p, d); }
ALEXNET_INLINE Double widen_low(Vec v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
ALEXNET_INLINE Double widen_high(Vec v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
ALEXNET_INLINE Vec narrow(Double low, Double high) {
    const Vec v = _mm256_castps128_ps256(_mm256_cvtpd_ps(low));
    return _mm256_insertf128_ps(v, _mm256_cvtpd_ps(high), 1);
}
ALEXNET_INLINE Double fma(Double a, Double b, Double c) { return _mm256_fmadd_pd(a, b, c); }
ALEXNET_INLINE double reduce_add(Double d) {
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(d), _mm256_extractf128_pd(d, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

typedef uint64_t Words __attribute__((vector_size(32)));

ALEXNET_INLINE Words multiply_low32(Words a, Words b) {
    return (Words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
// A shuffle, not a shift: shifts and multiplications share a port on Intel's processors.
ALEXNET_INLINE Words high32(Words w) { return (Words)_mm256_shuffle_epi32((__m256i)w, 0xf5); }
ALEXNET_INLINE Words interleave_even(Words a, Words b) {
    return (Words)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b);
}
ALEXNET_INLINE Words interleave_odd(Words a, Words b) {
    return (Words)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
}
// The instruction compares signed numbers; flipping the top bit of both sides makes it unsigned.
ALEXNET_INLINE Vec select_above(Words w, uint32_t limit, Vec x) {
    const __m256i top = _mm256_set1_epi32(INT32_MIN);
    const __m256i limits = _mm256_set1_epi32(static_cast<int>(limit ^ 0x80000000u));
    const __m256i above = _mm256_cmpgt_epi32(_mm256_xor_si256((__m256i)w, top), limits);
    return _mm256_and_ps(_mm256_castsi256_ps(above), x);
}

}  // namespace alexnet::avx2
