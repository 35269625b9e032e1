// The weights of a convolution, turned: [tap][out][in] where they lie as [tap][in][out], so that the
// gradient of the input reads neighbouring input channels. What rungs of conv2d_input_gradient_cuda
// have from the second on, and Hopper's of conv2d_forward_cuda, there rounded to tf32; one pass over the
// weights, through tiles in shared memory.

#ifndef ALEXNET_STUDY_CUDA_TURNED_CUH_
#define ALEXNET_STUDY_CUDA_TURNED_CUH_

#include "study.cuh"

namespace alexnet::study {
namespace {

constexpr int kTurnedTile = 32, kTurnedPitch = kTurnedTile + 1;  // no bank conflicts in a column

__global__ void turn(int in, int out, bool rounded, const float* weight, float* turned) {
    float* tile = dynamic_shared<float>();  // [kTurnedTile in][kTurnedPitch out]
    const int lane = thread_of_block() % kTurnedTile, line = thread_of_block() / kTurnedTile;
    const int first_in = static_cast<int>(blockIdx.y) * kTurnedTile;
    const int first_out = static_cast<int>(blockIdx.x) * kTurnedTile;
    const int tap = static_cast<int>(blockIdx.z) * in * out;
    if (first_in + line < in && first_out + lane < out) {
        tile[line * kTurnedPitch + lane] = weight[tap + (first_in + line) * out + first_out + lane];
    }
    __syncthreads();
    if (first_out + line < out && first_in + lane < in) {
        const float value = tile[lane * kTurnedPitch + line];
        turned[tap + (first_out + line) * in + first_in + lane] =
            rounded ? __uint_as_float(to_tf32(value)) : value;
    }
}

inline const float* turned_weights(const Conv2d& s, const float* weight, cuda::Stream stream,
                                   bool rounded = false) {
    const int taps = s.kernel_height * s.kernel_width;
    float* turned = scratch(size_t(taps) * s.in_channels * s.out_channels);
    const dim3 grid(blocks(s.out_channels, kTurnedTile), blocks(s.in_channels, kTurnedTile),
                    static_cast<unsigned>(taps));
    launch("turn", turn, grid, kTurnedTile * kTurnedTile,
           kTurnedTile * kTurnedPitch * sizeof(float), stream, s.in_channels, s.out_channels,
           rounded, weight, turned);
    return turned;
}

}  // namespace
}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_CUDA_TURNED_CUH_
