// The product's kernel on tensor cores: alexnet::cuda::conv2d_backward_input in tf32.
//
// Precision: tf32.
// Change: the package's own launcher with Precision::kTf32 (cpp/cuda/conv2d_backward_input.cu).
// Why: what the ladder led to is what the package runs.
// Predicted: as many wavefronts: it reads fragments without conflicts, too.
// Gained: 1.55 times fewer wavefronts, counted in the emulation. No GPU has timed it.

#include "product.cuh"

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    void* memory = workspace(conv2d_backward_input_workspace(shape));
    conv2d_backward_input<float>(shape, dy, weight, nullptr, alexnet::Precision::kTf32, dx, memory,
                                 stream);
}
