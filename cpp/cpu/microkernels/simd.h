// The vector type of the instruction set this file is compiled for.
//
// Every file in microkernels/ is compiled once per instruction set, with ALEXNET_ISA set to avx512,
// avx2 or portable. The three headers below define the same small vocabulary over `Vec`, kLanes
// floats wide, inside namespace alexnet::<isa>, so that a kernel is written once:
//
//   zero() broadcast(x) load(p) store(p, v) load_tail(p, n) store_tail(p, v, n)
//   stream(p, v): a non-temporal store, straight to memory;  fence(): orders streams before what
//       follows
//   stream_lines(p, v): a stream where v fills a whole cache line, otherwise a store
//   load_upto(p, n), store_upto(p, v, n), stream_lines_upto(p, v, n): whole vectors or tails
//   prefetch(p), prefetch_to_write(p): ask for the line kPrefetchDistance floats (a page) after p
//   add sub mul div sqrt
//   fma(a, b, c) = a·b + c;  fnma(a, b, c) = c - a·b
//   at_least(low, x) = max(low, x), a NaN in x stays;  relu(x) = at_least(0, x)
//   larger_magnitude(x, m) = max(|x|, m) for m >= 0; m where x is NaN
//   reduce_max4(a, b, c, d, p): the largest lane of each, numbers >= 0, to p
//   max_nan(a, b) = b if it is greater, or NaN and a is not; else a
//   rsqrt(x) = x^-1/2 to about 1 ulp
//   three_quarter_power(x) = (x / kPowerUnit)^-3/4 to a few ulp, for a normal x > 0, +inf and NaN
//   concat<n>(a, b): kLanes lanes of a and then b, from the n-th (0 < n < kLanes); AVX-512 only
//   zip_low(a, b) = a0 b0 a1 b1 ...;  zip_high(a, b): the same of the second halves
//   select_positive(m, x) = m > 0 ? x : 0
//   reduce_add4(a, b, c, d, p): their four sums, to p
//   Order: a lane for each lane;  load_order(int32_t*);  pick(a, b, order): lane order[i] of the
//       2 · kLanes lanes of a and then b
//   Mask: one truth value a lane;  same_bits(a, b);  select(mask, a, b) = mask ? a : b
//   is_nan(a, b): whether either is NaN;  either(mask, mask);  any(mask): in some lane
//
// Over Double, kLanes / 2 doubles, beside the compiler's + - * / :
//
//   widen_low(v) widen_high(v) = first and second half of v   narrow(low, high) = their inverse
//   broadcast_double(x) load(p) store(p, d) fma(a, b, c) reduce_add(d)
//
// and over Wide, a Vec's floats as doubles: widen(v) narrow(w) broadcast_wide(x) load_wide(p)
// store_wide(p, w) add sub mul fma reduce_add.
//
// Over Words, kLanes / 2 words of 64 bits, beside the compiler's + ^ | & << >> :
//
//   multiply_low32(a, b) = 64-bit products of the low halves of the words
//   high32(w) = w >> 32 as far as the low halves go; the high halves are unspecified
//   interleave_even(a, b) = a0 b0 a2 b2 ...  interleave_odd(a, b) = a1 b1 a3 b3 ...
//   select_above(w, limit, x) = w > limit ? x : 0, seen as kLanes unsigned words of 32 bits
//
// load and store need no alignment; stream needs that of a Vec. The
// _tail forms touch the first n <= kLanes floats only and never fault beyond them; lanes beyond n
// load as zero.
//
// Nothing but intrinsics, <cstddef> and <cstdint> may be included here or in a micro-kernel: a
// weak std:: template compiled with AVX-512 could be the copy that the linker keeps for everybody.

#ifndef ALEXNET_CPU_MICROKERNELS_SIMD_H_
#define ALEXNET_CPU_MICROKERNELS_SIMD_H_

#include <cstddef>
#include <cstdint>

#include "kernels.h"

#define ALEXNET_INLINE static inline __attribute__((always_inline))

#if defined(ALEXNET_ISA_AVX512)
#define ALEXNET_ISA avx512
#include "simd_avx512.h"
#elif defined(ALEXNET_ISA_AVX2)
#define ALEXNET_ISA avx2
#include "simd_avx2.h"
#elif defined(ALEXNET_ISA_PORTABLE)
#define ALEXNET_ISA portable
#include "simd_portable.h"
#else
#error "compile micro-kernels with ALEXNET_ISA_AVX512, ALEXNET_ISA_AVX2 or ALEXNET_ISA_PORTABLE"
#endif

namespace alexnet::ALEXNET_ISA {

// Of a run of n floats, at least one, the first vector or what there is of it.
ALEXNET_INLINE Vec load_upto(const float* p, size_t n) {
    return n >= kLanes ? load(p) : load_tail(p, n);
}
ALEXNET_INLINE void store_upto(float* p, Vec v, size_t n) {
    if (n >= kLanes) {
        store(p, v);
    } else {
        store_tail(p, v, n);
    }
}

// For arrays that are passed over in order: prefetches the line kPrefetchDistance floats on, to be
// read or to be written. The hardware's own prefetcher looks less far, and not into the next page.
constexpr size_t kPrefetchDistance = 1024;
ALEXNET_INLINE void prefetch(const float* p) { __builtin_prefetch(p + kPrefetchDistance); }
ALEXNET_INLINE void prefetch_to_write(float* p) { __builtin_prefetch(p + kPrefetchDistance, 1); }

// For large results: a line that is written as a whole need not be read first.
constexpr bool kVectorFillsLine = kLanes == kLineFloats;
ALEXNET_INLINE void stream_lines(float* p, Vec v) {
    if (kVectorFillsLine && reinterpret_cast<uintptr_t>(p) % sizeof(Vec) == 0) {
        stream(p, v);
    } else {
        store(p, v);
    }
}

ALEXNET_INLINE void stream_lines_upto(float* p, Vec v, size_t n) {
    if (n >= kLanes) {
        stream_lines(p, v);
    } else {
        store_tail(p, v, n);
    }
}

struct Wide {
    Double low, high;
};

ALEXNET_INLINE Wide widen(Vec v) { return {widen_low(v), widen_high(v)}; }
ALEXNET_INLINE Vec narrow(Wide w) { return narrow(w.low, w.high); }
ALEXNET_INLINE Wide broadcast_wide(double x) { return {broadcast_double(x), broadcast_double(x)}; }
ALEXNET_INLINE Wide load_wide(const double* p) { return {load(p), load(p + kLanes / 2)}; }
ALEXNET_INLINE void store_wide(double* p, Wide w) {
    store(p, w.low);
    store(p + kLanes / 2, w.high);
}
ALEXNET_INLINE Wide add(Wide a, Wide b) { return {a.low + b.low, a.high + b.high}; }
ALEXNET_INLINE Wide sub(Wide a, Wide b) { return {a.low - b.low, a.high - b.high}; }
ALEXNET_INLINE Wide mul(Wide a, Wide b) { return {a.low * b.low, a.high * b.high}; }
ALEXNET_INLINE Wide fma(Wide a, Wide b, Wide c) {
    return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)};
}
ALEXNET_INLINE double reduce_add(Wide w) { return reduce_add(w.low + w.high); }

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_SIMD_H_
