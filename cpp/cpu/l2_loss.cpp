// L2 loss over a whole array. Chunks of a fixed size are summed by whichever thread owns them, and
// their sums are added in order, so the result does not depend on the number of threads. Cost and
// numerics are in microkernels/l2_loss.cpp.

#include "alexnet/l2_loss.h"

#include <algorithm>

#include "dispatch.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {

constexpr size_t kChunk = 1 << 15;  // floats a task: 128 KiB

float l2_loss(size_t n, const float* x) {
    const KernelTable& k = kernels();
    const size_t chunks = (n + kChunk - 1) / kChunk;
    double* const sums = scratch_doubles(Slot::kDoubleSums, Size{chunks});
    parallel_for(chunks, 1, [&](size_t begin, size_t end) {
        for (size_t chunk = begin; chunk < end; ++chunk) {
            const size_t first = chunk * kChunk;
            sums[chunk] = k.sum_squares(std::min(kChunk, n - first), x + first);
        }
    });
    double sum = 0;
    for (size_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk];
    return static_cast<float>(sum / 2);
}

void l2_loss_backward(size_t n, const float* x, float* dx) {
    const KernelTable& k = kernels();
    parallel_for(n, kChunk,
                 [&](size_t begin, size_t end) { k.copy(end - begin, x + begin, dx + begin); });
}

}  // namespace alexnet::cpu
