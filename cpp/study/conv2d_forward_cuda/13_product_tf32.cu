// The product's kernel on tensor cores: alexnet::cuda::conv2d in tf32.
//
// Precision: tf32.
// Change: the package's own launcher with Precision::kTf32 (cpp/cuda/conv2d.cu). On a device of 9.0 it
//   is the rung before, for more shapes (hopper_gemm.cuh): tiles are chosen by the shape, deep sums are
//   cut among more blocks, the next rows of a are loaded while products are on their way, and the
//   producer gives registers to the consumers. On other devices it is rung 9 (tile_gemm.cuh).
// Why: what the ladder led to is what the package runs. The rung before has 36 blocks, and an H100 132
//   multiprocessors.
// Predicted: 3.67 times more blocks: 132, one for each multiprocessor.
// Gained: 3.00 times more blocks, counted in the emulation. No GPU has timed it. Clusters of two stay,
//   and their 36 tiles are cut in three along the depth; four parts would be 144 blocks, more than
//   there are multiprocessors.

#include "product.cuh"

RUNG(const Conv2d& s, const float* x, const float* weight, float* y, Stream stream) {
    const alexnet::Conv2dShape shape = product_shape(s);
    void* memory = workspace(conv2d_workspace(shape));
    conv2d(shape, x, weight, nullptr, false, alexnet::Precision::kTf32, y, memory, stream);
}
