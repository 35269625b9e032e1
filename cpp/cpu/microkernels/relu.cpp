// ReLU on a range: y = max(0, x);  backward: dx = dy where y > 0, else 0.
//
// Cost: 1 FLOP and 8 bytes an element (backward 12): memory-bound. In place is allowed.
// Numerics: exact. relu keeps NaN as NumPy's maximum does; where y is NaN the gradient is 0.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

void relu(size_t n, const float* x, float* y) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(y + i, relu(load(x + i)));
    if (i < n) store_tail(y + i, relu(load_tail(x + i, n - i)), n - i);
}

void relu_backward(size_t n, const float* dy, const float* y, float* dx) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        store(dx + i, select_positive(load(y + i), load(dy + i)));
    }
    if (i < n) {
        const size_t rest = n - i;
        store_tail(dx + i, select_positive(load_tail(y + i, rest), load_tail(dy + i, rest)), rest);
    }
}

}  // namespace alexnet::ALEXNET_ISA
