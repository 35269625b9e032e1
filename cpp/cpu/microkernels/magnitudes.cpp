// How large values are, and whether they are finite: what decides between algorithms.
//
// Cost: one or two operations a vector of values, and about four a run. Numerics: exact.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// The largest |x| of each lane.
ALEXNET_INLINE Vec largest_lanes(size_t n, const float* x) {
    Vec most = zero();
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) most = larger_magnitude(load(x + i), most);
    return i < n ? larger_magnitude(load_tail(x + i, n - i), most) : most;
}

// For each run the largest |x|; a NaN counts as less than anything.
void magnitudes(size_t runs, size_t run, size_t stride, const float* x, float* y) {
    size_t r = 0;
    for (; r + 4 <= runs; r += 4, x += 4 * stride) {
        reduce_max4(largest_lanes(run, x), largest_lanes(run, x + stride),
                    largest_lanes(run, x + 2 * stride), largest_lanes(run, x + 3 * stride), y + r);
    }
    for (; r < runs; ++r, x += stride) {
        float most[4];
        reduce_max4(largest_lanes(run, x), zero(), zero(), zero(), most);
        y[r] = most[0];
    }
}

// Whether all of x >= 0 that are not 0 have a share of the largest.
bool alike(size_t n, const float* x, float share) {
    float most[4];
    reduce_max4(largest_lanes(n, x), zero(), zero(), zero(), most);
    const Vec least = broadcast(share * most[0]);
    Vec below = zero();  // the largest of those that are less
    for (size_t i = 0; i < n; i += kLanes) {
        const Vec v = load_upto(x + i, n - i);
        below = larger_magnitude(select_positive(sub(least, v), v), below);
    }
    reduce_max4(below, zero(), zero(), zero(), most);
    return !(most[0] > 0);
}

bool all_finite(size_t n, const float* x) {
    Vec sum = zero();  // of 0 · x, which is NaN where x isn't finite
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum = fma(load(x + i), zero(), sum);
    if (i < n) sum = fma(load_tail(x + i, n - i), zero(), sum);
    return !any(is_nan(sum, sum));
}

}  // namespace alexnet::ALEXNET_ISA
