// A thread an output, neighbouring threads neighbouring output channels.
//
// Change: the first rung; it is the second one of conv2d-forward, whose ladder goes on to deep layers.
//   This one is of a first layer: its pixels have three channels, its windows overlap.
// Why: the others are checked and counted against something that can be read in a minute.
// Predicted: nothing to compare with. Lanes read 128 bytes of weights together, and one element of x.
// Gained: nothing to compare with.

#include "study.cuh"

namespace {

__global__ void naive(Conv2d s, const float* x, const float* weight, float* y) {
    const int pixels = s.batch * s.out_height * s.out_width;
    const int o = thread_number() % s.out_channels, p = thread_number() / s.out_channels;
    if (p >= pixels) return;
    const int ow = p % s.out_width, oh = p / s.out_width % s.out_height;
    const int n = p / s.out_width / s.out_height;
    float sum = 0;
    for (int kh = 0; kh < s.kernel_height; ++kh) {
        for (int kw = 0; kw < s.kernel_width; ++kw) {
            const int h = oh * s.stride - s.pad_top + kh, w = ow * s.stride - s.pad_left + kw;
            if (h < 0 || h >= s.in_height || w < 0 || w >= s.in_width) continue;
            const float* pixel = x + ((n * s.in_height + h) * s.in_width + w) * s.in_channels;
            const float* tap =
                weight + (kh * s.kernel_width + kw) * s.in_channels * s.out_channels + o;
            for (int c = 0; c < s.in_channels; ++c) {
                sum = fmaf(pixel[c], tap[c * s.out_channels], sum);
            }
        }
    }
    y[p * s.out_channels + o] = sum;
}

}  // namespace

RUNG(const Conv2d& s, const float* x, const float* weight, float* y, Stream stream) {
    const int outputs = s.batch * s.out_height * s.out_width * s.out_channels;
    launch("naive", naive, blocks(outputs, 256), 256, 0, stream, s, x, weight, y);
}
