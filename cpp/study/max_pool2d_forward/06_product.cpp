// The product's kernel: alexnet::cpu::max_pool2d.
//
// Change: padding, windows that reach beyond the image, unequal strides; rows are dealt out in
//   ranges, and stolen by threads that are done (cpp/cpu/max_pool2d.cpp).
// Why: what the ladder led to is what the package runs.
// Predicted: 1 times: the same idea as the last rung, with every shape allowed.
// Gained: 0.93 times (two threads of a Xeon, Sapphire Rapids).

#include "product.h"

RUNG(const MaxPool2d& s, const float* x, float* y) {
    alexnet::cpu::max_pool2d(product_shape(s), x, y);
}
