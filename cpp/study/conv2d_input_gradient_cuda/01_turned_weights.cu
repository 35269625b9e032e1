// Neighbouring threads are neighbouring input channels, of weights turned for it.
//
// Change: a first kernel writes the weights as [tap][out][in], by tiles in shared memory
//   (turned.cuh); then lanes read neighbouring input channels.
// Why: as they lie, weights of neighbouring input channels are `out_channels` floats apart: the
//   order of threads alone would change which of the two operands takes 32 sectors. Turning them
//   costs one pass over the weights, and is done once for all pixels.
// Predicted: 6.6 times fewer sectors: 4 of weights and 1 of dy, where there were 1 and 32.
// Gained: 7.10 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"
#include "turned.cuh"

namespace {

__global__ void coalesced(Conv2d s, const float* dy, const float* turned, float* dx) {
    const int pixels = s.batch * s.in_height * s.in_width;
    const int c = thread_number() % s.in_channels, p = thread_number() / s.in_channels;
    if (p >= pixels) return;
    const int w = p % s.in_width, h = p / s.in_width % s.in_height,
              n = p / s.in_width / s.in_height;
    float sum = 0;
    for (int kh = 0; kh < s.kernel_height; ++kh) {
        for (int kw = 0; kw < s.kernel_width; ++kw) {
            const int down = h + s.pad_top - kh, right = w + s.pad_left - kw;
            const int oh = down / s.stride, ow = right / s.stride;
            if (down < 0 || oh * s.stride != down || oh >= s.out_height) continue;
            if (right < 0 || ow * s.stride != right || ow >= s.out_width) continue;
            const float* pixel = dy + ((n * s.out_height + oh) * s.out_width + ow) * s.out_channels;
            const float* tap =
                turned + (kh * s.kernel_width + kw) * s.out_channels * s.in_channels + c;
            for (int o = 0; o < s.out_channels; ++o) {
                sum = fmaf(pixel[o], tap[o * s.in_channels], sum);
            }
        }
    }
    dx[p * s.in_channels + c] = sum;
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    const int inputs = s.batch * s.in_height * s.in_width * s.in_channels;
    const float* turned = turned_weights(s, weight, stream);
    launch("coalesced", coalesced, blocks(inputs, 256), 256, 0, stream, s, dy, turned, dx);
}
