// The product's kernel on tensor cores: alexnet::cuda::conv2d_backward_input in tf32.
//
// Precision: tf32.
// Change: the package's own launcher with Precision::kTf32 (cpp/cuda/conv2d_backward_input.cu).
// Why: what the ladder led to is what the package runs.
// Predicted: 1 times fewer wavefronts: it reads fragments without conflicts, too.
// Gained: not counted yet.

#include "product.cuh"

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    const size_t bytes = conv2d_backward_input_workspace(shape);
    float* memory = scratch(bytes / sizeof(float) + 1);
    void* workspace = bytes == 0 ? nullptr : memory;
    conv2d_backward_input(shape, dy, weight, alexnet::Precision::kTf32, dx, workspace, stream);
}
