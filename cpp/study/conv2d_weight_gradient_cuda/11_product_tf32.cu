// The product's kernel on tensor cores: alexnet::cuda::conv2d_backward_weight in tf32.
//
// Precision: tf32.
// Change: the package's own launcher with Precision::kTf32 (cpp/cuda/conv2d_backward_weight.cu).
// Why: what the ladder led to is what the package runs.
// Predicted: 1 times fewer wavefronts: it reads fragments without conflicts, too.
// Gained: not counted yet.

#include "product.cuh"

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    const size_t bytes = conv2d_backward_weight_workspace(shape);
    float* memory = scratch(bytes / sizeof(float) + 1 + shape.out_channels);
    float* dbias = memory + bytes / sizeof(float) + 1;  // which the ladder does not ask for
    void* workspace = bytes == 0 ? nullptr : memory;
    conv2d_backward_weight(shape, dy, x, alexnet::Precision::kTf32, dweight, dbias, workspace,
                           stream);
}
