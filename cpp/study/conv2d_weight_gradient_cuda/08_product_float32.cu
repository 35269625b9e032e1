// The product's kernel: alexnet::cuda::conv2d_backward_weight in float32.
//
// Change: the package's own launcher, which serves every shape and cuts deep sums among more blocks
//   where the outputs are few (cpp/cuda/conv2d_backward_weight.cu).
// Why: what the ladder led to is what the package runs.
// Predicted: 1 times fewer sectors: the same tile, copies and splits; it also sums dbias, which the
//   ladder leaves out.
// Gained: not counted yet.

#include "product.cuh"

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    const size_t bytes = conv2d_backward_weight_workspace(shape);
    float* memory = scratch(bytes / sizeof(float) + 1 + shape.out_channels);
    float* dbias = memory + bytes / sizeof(float) + 1;  // which the ladder does not ask for
    void* workspace = bytes == 0 ? nullptr : memory;
    conv2d_backward_weight(shape, dy, x, alexnet::Precision::kFloat32, dweight, dbias, workspace,
                           stream);
}
