// Sum of squares of a range: Σ x[i]².
//
// Cost: 2 FLOP and 4 bytes an element: memory-bound.
// Numerics: the square of a float is exact in double, and n double additions err by at most
// n · 2^-53 of the sum, all terms being positive: below the float that is returned (2^-24) for any
// n up to 2^29, and a driver adds chunks far shorter than that.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

ALEXNET_INLINE Wide add_square(Vec v, Wide sum) {
    const Wide x = widen(v);
    return fma(x, x, sum);
}

double sum_squares(size_t n, const float* x) {
    Wide even = {}, odd = {};  // two sums: an addition need not wait for the one before
    size_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
        even = add_square(load(x + i), even);
        odd = add_square(load(x + i + kLanes), odd);
    }
    for (; i + kLanes <= n; i += kLanes) even = add_square(load(x + i), even);
    if (i < n) odd = add_square(load_tail(x + i, n - i), odd);
    return reduce_add(add(even, odd));
}

}  // namespace alexnet::ALEXNET_ISA
