// The product's kernel: alexnet::cpu::conv2d, as algorithm "auto" would choose.
//
// Change: blocks of tiles that fit into L2 go through all steps, by one of three schedules that the
//   shape decides; 5 x 5 windows and strides as well; a guard for images that Winograd would spoil
//   (cpp/cpu/conv2d_winograd.cpp).
// Why: what the ladder led to is what the package runs.
// Predicted: 1.2 times: V and M of a block stay in L2, and threads that are done take others' tasks.
// Gained: 2.5 times (two threads of a Xeon, Sapphire Rapids).

#include "product.h"

RUNG(const Conv2d& s, const float* x, const float* weight, float* y) {
    using namespace alexnet::cpu;
    const alexnet::Conv2dShape shape = product_shape(s);
    conv2d(shape, x, weight, nullptr, false, choose_algorithm(shape, ConvDirection::kForward), y);
}
