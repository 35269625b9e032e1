// The product's kernel: alexnet::cpu::conv2d_backward_input, as algorithm "auto" would choose.
//
// Change: ragged tiles, blocks of tiles that fit into L2, and the guard of conv2d-forward's last rung
//   (cpp/cpu/conv2d_winograd.cpp); phases for strides (cpp/cpu/conv2d_direct_input.cpp).
// Why: what the ladder led to is what the package runs.
// Predicted: 1.8 times: ragged tiles and blocks, as there.
// Gained: 3 times (two threads of a Xeon, Sapphire Rapids).

#include "product.h"

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx) {
    using namespace alexnet::cpu;
    const alexnet::Conv2dShape shape = product_shape(s);
    const auto algorithm = choose_algorithm(shape, ConvDirection::kBackwardInput);
    conv2d_backward_input(shape, dy, weight, algorithm, dx);
}
