// The product's kernel: alexnet::cuda::max_pool2d.
//
// Change: padding, rectangular windows and any number of channels (cpp/cuda/max_pool2d.cu).
// Why: what the ladder led to is what the package runs.
// Predicted: 1 times fewer sectors: what rung 3 has found is open to it.
// Gained: 0.72 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "product.cuh"

RUNG(const MaxPool2d& s, const float* x, float* y, Stream stream) {
    max_pool2d(product_shape(s), x, y, stream);
}
