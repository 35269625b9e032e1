// Dropout over a whole array: each thread owns a range of whole Philox blocks, four elements each.
// The mask, cost and numerics are in microkernels/dropout.cpp.

#include "alexnet/dropout.h"

#include <algorithm>

#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {

constexpr size_t kBlock = 4;                   // words of one Philox counter
constexpr size_t kGrain = (1 << 13) / kBlock;  // blocks a thread at least

void dropout(size_t n, uint64_t seed, uint64_t offset, uint64_t threshold, float scale,
             const float* x, float* y) {
    const KernelTable& k = kernels();
    parallel_for((n + kBlock - 1) / kBlock, kGrain, [&](size_t begin, size_t end) {
        const size_t first = begin * kBlock, count = std::min(end * kBlock, n) - first;
        if (threshold == 0) {
            k.scale(count, scale, x + first, y + first);
        } else {
            const auto limit = static_cast<uint32_t>(threshold - 1);
            k.dropout(count, begin, seed, offset, limit, scale, x + first, y + first);
        }
    });
}

}  // namespace alexnet::cpu
