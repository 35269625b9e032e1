// Copy of a short run of floats (a pixel's channels): packing does millions of them, and a call
// into memcpy for each would cost more than the copy.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

void copy(size_t n, const float* x, float* y) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i));
    if (i < n) store_tail(y + i, load_tail(x + i, n - i), n - i);
}

}  // namespace alexnet::ALEXNET_ISA
