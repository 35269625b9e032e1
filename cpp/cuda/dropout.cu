// Dropout: y[i] = scale · x[i] where word[i] >= threshold, else 0.
//   word[4·b + j] = Philox4x32-10(counter = (b mod 2^32, b / 2^32, offset), key = seed)[j]
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. No mask is
// kept: backward computes the words again.
//
// Threads: each owns every (threads of the grid)-th run of 16 bytes, and the counters of its words,
//   read and written at once where both arrays are aligned to that.
// Cost: about 80 integer operations for four elements and two accesses each: memory-bound.
// Numerics: one rounding. The words agree bit for bit with alexnet.random. A dropped NaN is 0.
// In place is allowed.

#include "alexnet/dropout.h"
#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

constexpr int kRounds = 10;

struct CounterWords {
    uint32_t word[4];
};

__device__ CounterWords philox(uint64_t counter, uint64_t seed, uint64_t offset) {
    auto word0 = static_cast<uint32_t>(counter), word1 = static_cast<uint32_t>(counter >> 32);
    auto word2 = static_cast<uint32_t>(offset), word3 = static_cast<uint32_t>(offset >> 32);
    auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
        const uint64_t product0 = uint64_t{0xD2511F53} * word0;
        const uint64_t product1 = uint64_t{0xCD9E8D57} * word2;
        word0 = static_cast<uint32_t>(product1 >> 32) ^ word1 ^ key0;
        word1 = static_cast<uint32_t>(product1);
        word2 = static_cast<uint32_t>(product0 >> 32) ^ word3 ^ key1;
        word3 = static_cast<uint32_t>(product0);
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    return {{word0, word1, word2, word3}};
}

template <class T, bool vectors>
__global__ void __launch_bounds__(kBlockThreads)
    drop(size_t n, uint64_t seed, uint64_t offset, const uint64_t* later, uint64_t threshold,
         float scale, const T* x, T* y) {
    constexpr int kWidth = kVector<T>, kCounters = kWidth / 4;
    if (later != nullptr) {
        seed = later[0];
        offset = later[1];
    }
    const auto kept = [&](uint32_t word, float value) {
        return word >= threshold ? scale * value : 0.0f;
    };
    const size_t step = size_t{gridDim.x} * blockDim.x * kWidth;
    for (size_t i = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) * kWidth; i < n; i += step) {
        CounterWords words[kCounters];
#pragma unroll
        for (int b = 0; b < kCounters; ++b) words[b] = philox(i / 4 + b, seed, offset);
        if (vectors && i + kWidth <= n) {
            auto values = load_floats<kWidth>(x + i);
#pragma unroll
            for (int c = 0; c < kWidth; ++c) {
                values.at[c] = kept(words[c / 4].word[c % 4], values.at[c]);
            }
            store_floats(y + i, values);
            continue;
        }
#pragma unroll
        for (int c = 0; c < kWidth; ++c) {
            if (i + c >= n) continue;
            y[i + c] = from_float<T>(kept(words[c / 4].word[c % 4], to_float(x[i + c])));
        }
    }
}

}  // namespace

template <class T>
void dropout(size_t n, uint64_t seed, uint64_t offset, const uint64_t* later, uint64_t threshold,
             float scale, const T* x, T* y, Stream stream) {
    const bool vectors = is_aligned16(x) && is_aligned16(y);
    launch("dropout", vectors ? drop<T, true> : drop<T, false>,
           blocks_for((n + kVector<T> - 1) / kVector<T>, kMostBlocks), kBlockThreads, 0, stream, n,
           seed, offset, later, threshold, scale, x, y);
}

#define ALEXNET_INSTANTIATE(T)                                                                    \
    template void dropout(size_t, uint64_t, uint64_t, const uint64_t*, uint64_t, float, const T*, \
                          T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
