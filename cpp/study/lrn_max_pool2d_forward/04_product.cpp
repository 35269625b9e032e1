// The product's kernel: alexnet::cpu::lrn_max_pool2d.
//
// Change: bands of rows as in rung 02, about 0.5 MB each; windows of LRN in registers for AVX-512, pooling
//   that shares columns; every radius, beta and window (cpp/cpu/lrn_max_pool2d.cpp).
// Why: what the ladder led to is what the package runs.
// Predicted: 1.5 times: the two kernels are those that the ladders of LRN and of pooling end with.
// Gained: 1.1 times (two threads of a Xeon, Sapphire Rapids).

#include "product.h"

RUNG(const LrnMaxPool2d& s, const float* x, float* y) {
    alexnet::cpu::lrn_max_pool2d(product_shape(s.pool), product_shape(s.lrn), x, y, nullptr);
}
