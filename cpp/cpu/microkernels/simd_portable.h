// GCC's and clang's vector extension: 4 floats a vector, whatever the processor (SSE2, NEON, or
// scalar code where it has no vectors). See simd.h.

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace alexnet::portable {

typedef float Vec __attribute__((vector_size(16)));
typedef int32_t Mask __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;

ALEXNET_INLINE Vec zero() { return Vec{0, 0, 0, 0}; }
ALEXNET_INLINE Vec broadcast(float x) { return Vec{x, x, x, x}; }
ALEXNET_INLINE Vec load(const float* p) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
ALEXNET_INLINE void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
ALEXNET_INLINE void stream(float* p, Vec v) { store(p, v); }
ALEXNET_INLINE void fence() {}

ALEXNET_INLINE Vec load_tail(const float* p, size_t n) {
    Vec v = zero();
    for (size_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
}
ALEXNET_INLINE void store_tail(float* p, Vec v, size_t n) {
    for (size_t i = 0; i < n; ++i) p[i] = v[i];
}

ALEXNET_INLINE Vec add(Vec a, Vec b) { return a + b; }
ALEXNET_INLINE Vec sub(Vec a, Vec b) { return a - b; }
ALEXNET_INLINE Vec mul(Vec a, Vec b) { return a * b; }
ALEXNET_INLINE Vec div(Vec a, Vec b) { return a / b; }
ALEXNET_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
ALEXNET_INLINE Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
ALEXNET_INLINE Vec sqrt(Vec x) {
    return Vec{__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]),
               __builtin_sqrtf(x[3])};
}

ALEXNET_INLINE Vec select(Mask m, Vec a, Vec b) { return (Vec)((m & (Mask)a) | (~m & (Mask)b)); }
ALEXNET_INLINE Vec larger_magnitude(Vec x, Vec m) {
    const Vec magnitude = (Vec)((Mask)x & INT32_MAX);
    return select(magnitude > m, magnitude, m);
}
ALEXNET_INLINE void reduce_max4(Vec a, Vec b, Vec c, Vec d, float* most) {
    const Vec vectors[4] = {a, b, c, d};
    for (size_t i = 0; i < 4; ++i) {
        const Vec v = vectors[i];
        const float even = v[0] < v[2] ? v[2] : v[0], odd = v[1] < v[3] ? v[3] : v[1];
        most[i] = even < odd ? odd : even;
    }
}
ALEXNET_INLINE Mask is_nan(Vec a, Vec b) { return (a != a) | (b != b); }
ALEXNET_INLINE Mask either(Mask a, Mask b) { return a | b; }
ALEXNET_INLINE bool any(Mask m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
ALEXNET_INLINE Vec at_least(Vec low, Vec x) { return select(low > x, low, x); }
ALEXNET_INLINE Vec relu(Vec x) { return at_least(zero(), x); }
ALEXNET_INLINE Vec max_nan(Vec a, Vec b) { return select((b > a) | ((b != b) & (a == a)), b, a); }
ALEXNET_INLINE Mask same_bits(Vec a, Vec b) { return (Mask)a == (Mask)b; }
ALEXNET_INLINE Vec select_positive(Vec m, Vec x) { return select(m > zero(), x, zero()); }
ALEXNET_INLINE Vec rsqrt(Vec x) { return div(broadcast(1.0f), sqrt(x)); }

constexpr double kPowerUnit = 1;
ALEXNET_INLINE Vec three_quarter_power(Vec x) {
    const Vec root = sqrt(x);
    return div(broadcast(1.0f), mul(root, sqrt(root)));
}

typedef int32_t Order __attribute__((vector_size(16)));
ALEXNET_INLINE Order load_order(const int32_t* p) { return Order{p[0], p[1], p[2], p[3]}; }
ALEXNET_INLINE Vec pick(Vec a, Vec b, Order order) {
    const float lanes[] = {a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]};
    return Vec{lanes[order[0]], lanes[order[1]], lanes[order[2]], lanes[order[3]]};
}

ALEXNET_INLINE Vec zip_low(Vec a, Vec b) { return Vec{a[0], b[0], a[1], b[1]}; }
ALEXNET_INLINE Vec zip_high(Vec a, Vec b) { return Vec{a[2], b[2], a[3], b[3]}; }

ALEXNET_INLINE void reduce_add4(Vec a, Vec b, Vec c, Vec d, float* sums) {
    const Vec vectors[4] = {a, b, c, d};
    for (size_t i = 0; i < 4; ++i) {
        const Vec v = vectors[i];
        sums[i] = (v[0] + v[2]) + (v[1] + v[3]);
    }
}

typedef double Double __attribute__((vector_size(16)));
typedef float HalfVec __attribute__((vector_size(8)));

ALEXNET_INLINE Double broadcast_double(double x) { return Double{x, x}; }
ALEXNET_INLINE Double load(const double* p) {
    Double d;
    __builtin_memcpy(&d, p, sizeof d);
    return d;
}
ALEXNET_INLINE void store(double* p, Double d) { __builtin_memcpy(p, &d, sizeof d); }
ALEXNET_INLINE Double widen_low(Vec v) {
    return __builtin_convertvector((HalfVec{v[0], v[1]}), Double);
}
ALEXNET_INLINE Double widen_high(Vec v) {
    return __builtin_convertvector((HalfVec{v[2], v[3]}), Double);
}
ALEXNET_INLINE Vec narrow(Double low, Double high) {
    const HalfVec a = __builtin_convertvector(low, HalfVec),
                  b = __builtin_convertvector(high, HalfVec);
    return Vec{a[0], a[1], b[0], b[1]};
}
ALEXNET_INLINE Double fma(Double a, Double b, Double c) { return a * b + c; }
ALEXNET_INLINE double reduce_add(Double d) { return d[0] + d[1]; }

typedef uint64_t Words __attribute__((vector_size(16)));
typedef uint32_t HalfWords __attribute__((vector_size(16)));

// GCC does not see that one instruction of SSE2 does this.
ALEXNET_INLINE Words multiply_low32(Words a, Words b) {
#if defined(__SSE2__)
    return (Words)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return Words{(a[0] & UINT32_MAX) * (b[0] & UINT32_MAX),
                 (a[1] & UINT32_MAX) * (b[1] & UINT32_MAX)};
#endif
}
ALEXNET_INLINE Words high32(Words w) { return w >> 32; }
ALEXNET_INLINE Words interleave_even(Words a, Words b) { return Words{a[0], b[0]}; }
ALEXNET_INLINE Words interleave_odd(Words a, Words b) { return Words{a[1], b[1]}; }
ALEXNET_INLINE Vec select_above(Words w, uint32_t limit, Vec x) {
    const HalfWords above = (HalfWords)((HalfWords)w > limit);
    return (Vec)(above & (HalfWords)x);
}

}  // namespace alexnet::portable
