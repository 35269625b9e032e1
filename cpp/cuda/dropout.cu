// Dropout: y[i] = scale · x[i] where word[i] >= threshold, else 0.
//   word[4·b + j] = Philox4x32-10(counter = (b mod 2^32, b / 2^32, offset), key = seed)[j]
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. No mask is
// kept: backward computes the words again.
//
// Threads: each owns every (threads of the grid)-th counter, and the four elements of its words,
//   read and written as 16 bytes where both arrays are aligned to that.
// Cost: about 80 integer operations a counter and 8 bytes an element: memory-bound.
// Numerics: one rounding. The words agree bit for bit with alexnet.random. A dropped NaN is 0.
// In place is allowed.

#include "alexnet/dropout.h"
#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

constexpr int kRounds = 10;

struct Words {
    uint32_t word[4];
};

__device__ Words philox(uint64_t counter, uint64_t seed, uint64_t offset) {
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

template <bool vectors>
__global__ void __launch_bounds__(kBlockThreads)
    drop(size_t n, uint64_t seed, uint64_t offset, const uint64_t* later, uint64_t threshold,
         float scale, const float* x, float* y) {
    if (later != nullptr) {
        seed = later[0];
        offset = later[1];
    }
    const auto kept = [&](uint32_t word, float value) {
        return word >= threshold ? scale * value : 0.0f;
    };
    const size_t threads = size_t{gridDim.x} * blockDim.x;
    for (size_t b = size_t{blockIdx.x} * blockDim.x + threadIdx.x; 4 * b < n; b += threads) {
        const Words w = philox(b, seed, offset);
        if (vectors && 4 * b + 4 <= n) {
            const float4 v = Read{x}.load4(b);
            Write{y}.store(b, make_float4(kept(w.word[0], v.x), kept(w.word[1], v.y),
                                          kept(w.word[2], v.z), kept(w.word[3], v.w)));
        } else {
            for (size_t j = 0; j < 4 && 4 * b + j < n; ++j) {
                y[4 * b + j] = kept(w.word[j], x[4 * b + j]);
            }
        }
    }
}

}  // namespace

void dropout(size_t n, uint64_t seed, uint64_t offset, const uint64_t* later, uint64_t threshold,
             float scale, const float* x, float* y, Stream stream) {
    const bool vectors = is_aligned16(x) && is_aligned16(y);
    launch("dropout", vectors ? drop<true> : drop<false>, blocks_for((n + 3) / 4, kMostBlocks),
           kBlockThreads, 0, stream, n, seed, offset, later, threshold, scale, x, y);
}

}  // namespace alexnet::cuda
