// The product's kernel: alexnet::cuda::conv2d_backward_weight in float32.
//
// Change: the package's own launcher, which serves every shape and cuts deep sums among more blocks
//   where the outputs are few (cpp/cuda/conv2d_backward_weight.cu): algorithm "direct". For 3 x 3 and 5 x 5 windows
//   "auto" may take Winograd's, which multiplies less often (cpp/cuda/conv2d_winograd_weight.cu).
// Why: what the ladder led to is what the package runs. Its tiles are of 128 x 64, so that no
//   register is spilled: sectors that the prediction left out.
// Predicted: as many sectors: the same tile, copies and splits.
// Gained: 1.32 times more sectors, counted in the emulation. No GPU has timed it.

#include "product.cuh"

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    void* memory = workspace(conv2d_backward_weight_workspace(shape));
    conv2d_backward_weight(shape, dy, x, alexnet::Precision::kFloat32, dweight, nullptr, memory,
                           stream);
}
