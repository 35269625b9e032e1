// AVX2 and FMA: 8 floats a vector, 16 registers, tails by vmaskmov. See simd.h.

#include <immintrin.h>

namespace alexnet::avx2 {

using Vec = __m256;
constexpr size_t kLanes = 8;

ALEXNET_INLINE Vec zero() { return _mm256_setzero_ps(); }
ALEXNET_INLINE Vec broadcast(float x) { return _mm256_set1_ps(x); }
ALEXNET_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
ALEXNET_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
ALEXNET_INLINE void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }

ALEXNET_INLINE __m256i tail_mask(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
ALEXNET_INLINE Vec load_tail(const float* p, size_t n) {
    return _mm256_maskload_ps(p, tail_mask(n));
}
ALEXNET_INLINE void store_tail(float* p, Vec v, size_t n) {
    _mm256_maskstore_ps(p, tail_mask(n), v);
}

ALEXNET_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
ALEXNET_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
ALEXNET_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
ALEXNET_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
ALEXNET_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
ALEXNET_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
ALEXNET_INLINE Vec sqrt(Vec x) { return _mm256_sqrt_ps(x); }

// vmaxps returns its second operand when either is NaN.
ALEXNET_INLINE Vec relu(Vec x) { return _mm256_max_ps(zero(), x); }
ALEXNET_INLINE Vec max_nan(Vec a, Vec b) {
    return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
ALEXNET_INLINE Vec select_positive(Vec m, Vec x) {
    return _mm256_and_ps(_mm256_cmp_ps(m, zero(), _CMP_GT_OQ), x);
}

// The AVX estimate has 12 bits and flushes denormals; a division is exact enough and simpler.
ALEXNET_INLINE Vec rsqrt(Vec x) { return div(broadcast(1.0f), sqrt(x)); }

ALEXNET_INLINE float reduce_add(Vec v) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

}  // namespace alexnet::avx2
