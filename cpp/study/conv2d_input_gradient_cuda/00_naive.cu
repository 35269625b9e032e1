// A thread a pixel and channel of dx, which gathers all that reach it.
//
// Change: the first rung: neighbouring threads are neighbouring pixels. Gathering has one owner for
//   every sum, where scattering would need atomic additions.
// Why: the others are checked and counted against something that can be read in a minute.
// Predicted: nothing to compare with. Lanes read dy `out_channels` floats apart, a sector each, and
//   one weight together: 33 sectors for 32 multiply-adds.
// Gained: nothing to compare with.

#include "study.cuh"

namespace {

__global__ void naive(Conv2d s, const float* dy, const float* weight, float* dx) {
    const int pixels = s.batch * s.in_height * s.in_width;
    const int p = thread_number() % pixels, c = thread_number() / pixels;
    if (c >= s.in_channels) return;
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
                weight + ((kh * s.kernel_width + kw) * s.in_channels + c) * s.out_channels;
            for (int o = 0; o < s.out_channels; ++o) sum = fmaf(pixel[o], tap[o], sum);
        }
    }
    dx[p * s.in_channels + c] = sum;
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    const int inputs = s.batch * s.in_height * s.in_width * s.in_channels;
    launch("naive", naive, blocks(inputs, 256), 256, 0, stream, s, dy, weight, dx);
}
