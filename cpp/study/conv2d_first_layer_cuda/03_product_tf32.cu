// The product's kernel on tensor cores: alexnet::cuda::conv2d in tf32.
//
// Precision: tf32.
// Change: the package's own launcher with Precision::kTf32 (cpp/cuda/conv2d.cu). On a device of 9.0 it
//   is the rung before (hopper_lines_forward.cu), with two warpgroups in turns and a block for each
//   multiprocessor; single elements behind whole steps of 32 are multiplied apart from them, so that
//   363 depths fill 368. On other devices windows are copied by fours (conv2d_runs.cuh).
// Why: what the ladder led to is what the package runs.
// Predicted: 1.2 times fewer math instructions: 368 depths instead of 440.
// Gained: 1.22 times fewer math instructions, counted in the emulation. No GPU has timed it.

#include "product.cuh"

RUNG(const Conv2d& s, const float* x, const float* weight, float* y, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    void* memory = workspace(conv2d_workspace(shape));
    conv2d(shape, x, weight, nullptr, false, alexnet::Precision::kTf32, y, memory, stream);
}
