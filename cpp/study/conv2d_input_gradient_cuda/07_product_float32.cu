// The product's kernel: alexnet::cuda::conv2d_backward_input in float32.
//
// Change: the package's own launcher, which serves every shape and cuts deep sums among more blocks
//   where the outputs are few (cpp/cuda/conv2d_backward_input.cu): algorithm "direct". For 3 x 3 and 5 x 5 windows
//   "auto" may take Winograd's, which multiplies less often (cpp/cuda/conv2d_winograd.cu).
// Why: what the ladder led to is what the package runs. Its tiles are of 128 x 64, so that no
//   register is spilled, and parts of a sum go through memory: sectors that the prediction left out.
// Predicted: as many sectors: the same tile and copies of 16 bytes, but no pass to turn the
//   weights.
// Gained: 1.50 times more sectors, counted in the emulation. No GPU has timed it.

#include "product.cuh"

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    void* memory = workspace(conv2d_backward_input_workspace(shape));
    conv2d_backward_input<float>(shape, dy, weight, nullptr, alexnet::Precision::kFloat32, dx,
                                 memory, stream);
}
