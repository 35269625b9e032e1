// What softmax needs of a row z: its largest element, and Σ exp(z_j - largest).
//
// Cost: about 20 operations in double and 4 bytes an element (8 where the exponentials are stored):
// compute-bound, but only once a class where a dense layer takes thousands of products.
// Numerics: exponentials and their sum are formed in double, with a relative error below 1e-12 plus
// n · 2^-53. In float the difference z_j - largest alone, of size d, would cost d · 2^-24. What is
// stored is rounded once. NaN anywhere in the row, or +infinity, makes the sum NaN, as in NumPy.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// The largest element, n >= 1; NaN if there is one.
float largest(size_t n, const float* z) {
    float lanes[kLanes];
    size_t i = 0, count = n < kLanes ? n : kLanes;
    if (n >= kLanes) {
        Vec most = load(z);
        for (i = kLanes; i + kLanes <= n; i += kLanes) most = max_nan(most, load(z + i));
        store(lanes, max_nan(most, load(z + n - kLanes)));  // looks at some elements twice
    } else {
        for (; i < n; ++i) lanes[i] = z[i];
    }
    float most = lanes[0];
    for (size_t lane = 1; lane < count; ++lane) {
        if (lanes[lane] > most || lanes[lane] != lanes[lane]) most = lanes[lane];
        if (most != most) break;
    }
    return most;
}

// 2^n from n + 1.5·2^52, where n stands in the low bits; -1022 <= n <= 1023.
ALEXNET_INLINE Double power_of_two(Double shifted) {
    constexpr uint64_t kExponentOfOne = 1023;
    return (Double)(((Words)shifted + kExponentOfOne) << 52);
}

// 0 where x < -708, else value.
ALEXNET_INLINE Double zero_below(Double x, Double value) {
    return (Double)((Words)value & ~(Words)(x < -708.0));
}

// exp(x) for x <= 0 or NaN. With n the integer next to x / log 2, exp(x) = 2^n · exp(x - n·log 2);
// the argument that remains, at most log(2)/2 = 0.35, leaves 2.2e-13 of the series after r^10/10!.
// Below -708 the power of two would leave the normal range; 0 is returned.
ALEXNET_INLINE Wide exp_of_negative(Wide x) {
    constexpr double kLog2e = 0x1.71547652b82fep0;
    constexpr double kLog2High = 0x1.62e42fefa38p-1;  // 42 bits: times n it is exact
    constexpr double kLog2Low = 0x1.ef35793c7673p-45;
    constexpr double kRounder = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
    const Wide shifted = fma(x, broadcast_wide(kLog2e), broadcast_wide(kRounder));
    const Wide n = sub(shifted, broadcast_wide(kRounder));
    const Wide r = fma(n, broadcast_wide(-kLog2Low), fma(n, broadcast_wide(-kLog2High), x));
    constexpr double kInverseFactorials[] = {1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                                             1.0 / 120,    1.0 / 24,    1.0 / 6,    1.0 / 2,
                                             1.0,          1.0};
    Wide series = broadcast_wide(1.0 / 3628800);
    for (double term : kInverseFactorials) series = fma(series, r, broadcast_wide(term));
    const Wide power = {power_of_two(shifted.low), power_of_two(shifted.high)};
    const Wide result = mul(series, power);
    return {zero_below(x.low, result.low), zero_below(x.high, result.high)};
}

// Σ over the first `count` lanes, in order.
ALEXNET_INLINE double sum_first(Wide w, size_t count) {
    double lanes[kLanes];
    store_wide(lanes, w);
    double sum = 0;
    for (size_t lane = 0; lane < count; ++lane) sum += lanes[lane];
    return sum;
}

template <bool kStore>
static double sum_exp_of(size_t n, double shift, const float* z, float* exponentials) {
    const Wide largest = broadcast_wide(shift);
    Wide sum = {};
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const Wide e = exp_of_negative(sub(widen(load(z + i)), largest));
        sum = add(sum, e);
        if (kStore) store(exponentials + i, narrow(e));
    }
    if (i == n) return reduce_add(sum);
    const Wide e = exp_of_negative(sub(widen(load_tail(z + i, n - i)), largest));
    if (kStore) store_tail(exponentials + i, narrow(e), n - i);
    return reduce_add(sum) + sum_first(e, n - i);
}

// Σ exp(z[j] - shift), where no z[j] is greater than `shift`. Stores the terms unless
// `exponentials` is null.
double sum_exp(size_t n, double shift, const float* z, float* exponentials) {
    return exponentials == nullptr ? sum_exp_of<false>(n, shift, z, nullptr)
                                   : sum_exp_of<true>(n, shift, z, exponentials);
}

}  // namespace alexnet::ALEXNET_ISA
