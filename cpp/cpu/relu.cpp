// ReLU over a whole array: each thread owns a contiguous range. The formula, cost and numerics are
// in microkernels/relu.cpp.

#include "alexnet/relu.h"

#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {

constexpr size_t kGrain = 1 << 15;  // floats a thread at least: below it a team costs more

void relu(size_t n, const float* x, float* y) {
    const KernelTable& k = kernels();
    parallel_for(n, kGrain,
                 [&](size_t begin, size_t end) { k.relu(end - begin, x + begin, y + begin); });
}

void relu_backward(size_t n, const float* dy, const float* y, float* dx) {
    const KernelTable& k = kernels();
    parallel_for(n, kGrain, [&](size_t begin, size_t end) {
        k.relu_backward(end - begin, dy + begin, y + begin, dx + begin);
    });
}

}  // namespace alexnet::cpu
