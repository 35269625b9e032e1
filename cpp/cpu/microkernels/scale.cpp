// y = factor · x on a range. 1 FLOP and 8 bytes an element; one rounding. In place is allowed.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

void scale(size_t n, float factor, const float* x, float* y) {
    const Vec factors = broadcast(factor);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(y + i, mul(factors, load(x + i)));
    if (i < n) store_tail(y + i, mul(factors, load_tail(x + i, n - i)), n - i);
}

}  // namespace alexnet::ALEXNET_ISA
