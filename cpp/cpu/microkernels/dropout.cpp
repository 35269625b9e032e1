// Dropout of a range that starts with Philox block `block`:
//   y[i] = scale · x[i] where word[i] > limit, else 0
//   word[4·b + j] = Philox4x32-10(counter = (b mod 2^32, b / 2^32, offset), key = seed)[j]
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The four
// words of a counter lie in the low halves of four vectors of 64-bit lanes, one counter a lane: the
// multiplication 32 x 32 -> 64 bits wants its operands there, and what products, keys and offset
// leave in the upper half of a lane disturbs nothing until the end.
//
// Cost: 10 rounds of 2 multiplications, 2 shuffles and 4 exclusive ors for 4 elements, and 8 bytes
// an element: bound by the integer units in cache, by about as much as by memory outside of it.
// Numerics: one rounding. The words agree bit for bit with alexnet.random. A dropped NaN is 0.
// In place is allowed.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kKeyStep0 = 0x9E3779B9, kKeyStep1 = 0xBB67AE85;
constexpr int kRounds = 10;
constexpr size_t kCounters = kLanes / 2;  // of one vector
constexpr size_t kVectors = 2;            // computed side by side: a round waits for the one before
constexpr size_t kWords = 4 * kCounters * kVectors;

// Words 0 .. kWords-1 of the counters that begin with block[0], in order: interleaving pairs of
// words from even lanes gives the first half of a vector's words and from odd lanes the second, if
// lane 2j holds its counter j and lane 2j+1 its counter j + kCounters/2.
ALEXNET_INLINE void philox(const Words* block, uint64_t seed, uint64_t offset, Words* words) {
    const Words multiplier0 = Words{} + kMultiplier0, multiplier1 = Words{} + kMultiplier1;
    Words word0[kVectors], word1[kVectors], word2[kVectors], word3[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
        word0[v] = block[v];
        word1[v] = block[v] >> 32;
        word2[v] = Words{} + offset;
        word3[v] = Words{} + (offset >> 32);
    }
    uint64_t key0 = seed, key1 = seed >> 32;
    for (int round = 0; round < kRounds; ++round) {
        for (size_t v = 0; v < kVectors; ++v) {
            const Words product0 = multiply_low32(multiplier0, word0[v]);
            const Words product1 = multiply_low32(multiplier1, word2[v]);
            word0[v] = high32(product1) ^ word1[v] ^ key0;
            word2[v] = high32(product0) ^ word3[v] ^ key1;
            word1[v] = product1;
            word3[v] = product0;
        }
        key0 += kKeyStep0;
        key1 += kKeyStep1;
    }
    for (size_t v = 0; v < kVectors; ++v) {
        const Words pair01 = (word0[v] & UINT32_MAX) | (word1[v] << 32);
        const Words pair23 = (word2[v] & UINT32_MAX) | (word3[v] << 32);
        words[2 * v] = interleave_even(pair01, pair23);
        words[2 * v + 1] = interleave_odd(pair01, pair23);
    }
}

void dropout(size_t n, uint64_t block, uint64_t seed, uint64_t offset, uint32_t limit, float scale,
             const float* x, float* y) {
    const Vec scales = broadcast(scale);
    Words counters[kVectors];
    for (size_t lane = 0; lane < kCounters; ++lane) {
        counters[0][lane] = block + lane / 2 + lane % 2 * (kCounters / 2);
    }
    for (size_t v = 1; v < kVectors; ++v) counters[v] = counters[v - 1] + kCounters;
    for (size_t i = 0; i < n; i += kWords) {
        Words words[2 * kVectors];
        philox(counters, seed, offset, words);
        for (Words& counter : counters) counter += kCounters * kVectors;
        for (size_t v = 0; v < 2 * kVectors; ++v) {
            const size_t at = i + v * kLanes;
            if (at + kLanes <= n) {
                store(y + at, select_above(words[v], limit, mul(scales, load(x + at))));
            } else if (at < n) {
                const Vec scaled = mul(scales, load_tail(x + at, n - at));
                store_tail(y + at, select_above(words[v], limit, scaled), n - at);
            }
        }
    }
}

}  // namespace alexnet::ALEXNET_ISA
