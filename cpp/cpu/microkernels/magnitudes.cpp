// How large values are, and whether they are finite: what decides between algorithms.
//
// Cost: two operations a vector of values, and about ten a run. Numerics: exact.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// For each run the largest |x|; a NaN counts as less than anything.
void magnitudes(size_t runs, size_t run, size_t stride, const float* x, float* y) {
    for (size_t r = 0; r < runs; ++r, x += stride) {
        Vec most = zero();
        size_t i = 0;
        for (; i + kLanes <= run; i += kLanes) most = at_least(absolute(load(x + i)), most);
        if (i < run) most = at_least(absolute(load_tail(x + i, run - i)), most);
        y[r] = reduce_max(most);
    }
}

bool all_finite(size_t n, const float* x) {
    Vec sum = zero();  // of 0 · x, which is NaN where x isn't finite
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum = fma(load(x + i), zero(), sum);
    if (i < n) sum = fma(load_tail(x + i, n - i), zero(), sum);
    return !any(is_nan(sum, sum));
}

}  // namespace alexnet::ALEXNET_ISA
