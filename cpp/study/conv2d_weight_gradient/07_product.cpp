// The product's kernel: alexnet::cpu::conv2d_backward_weight, as algorithm "auto" would choose.
//
// Change: ragged tiles of dy; sums over blocks of tiles whose V and dM stay in L2; the gradient of the
//   bias comes with it (cpp/cpu/conv2d_winograd_weight.cpp, winograd_weight_gradient.cpp).
// Why: what the ladder led to is what the package runs.
// Predicted: 1.7 times: 361 products for 576, and less traffic.
// Gained: 3 times (two threads of a Xeon, Sapphire Rapids).

#include "product.h"

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight) {
    using namespace alexnet::cpu;
    const alexnet::Conv2dShape shape = product_shape(s);
    const auto algorithm = choose_algorithm(shape, ConvDirection::kBackwardWeight);
    conv2d_backward_weight(shape, dy, x, algorithm, dweight, scratch(s.out_channels));
}
