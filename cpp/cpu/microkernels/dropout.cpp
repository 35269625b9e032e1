// Dropout of a range that starts with Philox block `block`:
//   y[i] = scale · x[i] where word[i] > limit, else 0
//   word[4·b + j] = Philox4x32-10(counter = (b mod 2^32, b / 2^32, offset), key = seed)[j]
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The four
// words of a counter lie in the low halves of four vectors of 64-bit lanes, one counter a lane: the
// multiplication 32 x 32 -> 64 bits wants its operands there, and what a product leaves in the
// upper half of a lane disturbs nothing until the end.
//
// Cost: 10 rounds of 2 multiplications, 2 shifts and 4 exclusive ors for 4 elements, and 8 bytes an
// element: bound by the integer units in cache, by about as much as by memory outside of it.
// Numerics: one rounding. The words agree bit for bit with alexnet.random. A dropped NaN is 0.
// In place is allowed.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kKeyStep0 = 0x9E3779B9, kKeyStep1 = 0xBB67AE85;
constexpr int kRounds = 10;
constexpr size_t kCounters = kLanes / 2;  // of one vector

// Words 0 .. 2·kLanes-1 of the counters `block` + lane, in order: interleaving pairs of words from
// even lanes gives the first half and from odd lanes the second, if lane 2j holds counter j and
// lane 2j+1 counter j + kCounters/2.
ALEXNET_INLINE void philox(Words block, uint64_t seed, uint64_t offset, Words* first,
                           Words* second) {
    const Words multiplier0 = Words{} + kMultiplier0, multiplier1 = Words{} + kMultiplier1;
    Words word0 = block, word1 = block >> 32;
    Words word2 = Words{} + offset, word3 = Words{} + (offset >> 32);
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < kRounds; ++round) {
        const Words product0 = multiply_low32(multiplier0, word0);
        const Words product1 = multiply_low32(multiplier1, word2);
        word0 = (product1 >> 32) ^ word1 ^ uint64_t{key0};
        word2 = (product0 >> 32) ^ word3 ^ uint64_t{key1};
        word1 = product1;
        word3 = product0;
        key0 += kKeyStep0;
        key1 += kKeyStep1;
    }
    const Words pair01 = (word0 & UINT32_MAX) | (word1 << 32);
    const Words pair23 = (word2 & UINT32_MAX) | (word3 << 32);
    *first = interleave_even(pair01, pair23);
    *second = interleave_odd(pair01, pair23);
}

void dropout(size_t n, uint64_t block, uint64_t seed, uint64_t offset, uint32_t limit, float scale,
             const float* x, float* y) {
    const Vec scales = broadcast(scale);
    Words counters;
    for (size_t lane = 0; lane < kCounters; ++lane) {
        counters[lane] = block + lane / 2 + lane % 2 * (kCounters / 2);
    }
    for (size_t i = 0; i < n; i += 2 * kLanes, counters += kCounters) {
        Words words[2];
        philox(counters, seed, offset, &words[0], &words[1]);
        for (size_t half = 0; half < 2; ++half) {
            const size_t at = i + half * kLanes;
            if (at + kLanes <= n) {
                store(y + at, select_above(words[half], limit, mul(scales, load(x + at))));
            } else if (at < n) {
                const Vec scaled = mul(scales, load_tail(x + at, n - at));
                store_tail(y + at, select_above(words[half], limit, scaled), n - at);
            }
        }
    }
}

}  // namespace alexnet::ALEXNET_ISA
