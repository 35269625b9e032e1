// Sum of squares of a range: Σ x[i]².
//
// Cost: 2 FLOP and 4 bytes an element: memory-bound.
// Numerics: the square of a float is exact in double, and n double additions err by at most
// n · 2^-53 of the sum, all terms being positive: below the float that is returned (2^-24) for any
// n up to 2^29, and a driver adds chunks far shorter than that.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

double sum_squares(size_t n, const float* x) {
    Double sums[4] = {};  // as many as hide the latency of an addition
    auto add_squares = [&sums](size_t k, Vec v) __attribute__((always_inline)) {
        const Double low = widen_low(v), high = widen_high(v);
        sums[k] = fma(low, low, sums[k]);
        sums[k + 1] = fma(high, high, sums[k + 1]);
    };
    size_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
        add_squares(0, load(x + i));
        add_squares(2, load(x + i + kLanes));
    }
    for (; i + kLanes <= n; i += kLanes) add_squares(0, load(x + i));
    if (i < n) add_squares(2, load_tail(x + i, n - i));
    return reduce_add((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

}  // namespace alexnet::ALEXNET_ISA
