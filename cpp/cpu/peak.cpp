// The machine's peaks: every thread runs the loops of microkernels/peak.cpp, which says what they
// do, on registers and a part of the arrays of its own.

#include "alexnet/peak.h"

#include <atomic>

#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {

size_t fma_loop(size_t steps) {
    const KernelTable& k = kernels();
    std::atomic<size_t> flops{0};
    parallel(num_threads(), [&](int, int) {
        float sink[kPeakBlock];
        flops += k.fma_loop(steps, sink);
    });
    return flops;
}

void read_loop(size_t n, const float* x) {
    const KernelTable& k = kernels();
    parallel_for(n / kPeakBlock, 1, [&](size_t begin, size_t end) {
        float sink[kPeakBlock];
        k.read_all((end - begin) * kPeakBlock, x + begin * kPeakBlock, sink);
    });
}

void copy_loop(size_t n, const float* x, float* y) {
    const KernelTable& k = kernels();
    parallel_for(n / kPeakBlock, 1, [&](size_t begin, size_t end) {
        k.stream_all((end - begin) * kPeakBlock, x + begin * kPeakBlock, y + begin * kPeakBlock);
    });
}

}  // namespace alexnet::cpu
