// A thread a weight, in the order of OIHW programs.
//
// Change: the first rung: neighbouring threads are neighbouring taps, then input channels.
// Why: the others are checked and counted against something that can be read in a minute.
// Predicted: nothing to compare with. 32 lanes are 9 taps of 3 to 4 channels: about 10 sectors of x
//   and 1 of dy for 32 multiply-adds, all pixels one after the other.
// Gained: nothing to compare with.

#include "study.cuh"

namespace {

__global__ void naive(Conv2d s, const float* dy, const float* x, float* dweight) {
    const int taps = s.kernel_height * s.kernel_width;
    const int tap = thread_number() % taps, c = thread_number() / taps % s.in_channels;
    const int o = thread_number() / taps / s.in_channels;
    if (o >= s.out_channels) return;
    const int kh = tap / s.kernel_width, kw = tap % s.kernel_width;
    float sum = 0;
    for (int n = 0; n < s.batch; ++n) {
        for (int oh = 0; oh < s.out_height; ++oh) {
            const int h = oh * s.stride - s.pad_top + kh;
            if (h < 0 || h >= s.in_height) continue;
            for (int ow = 0; ow < s.out_width; ++ow) {
                const int w = ow * s.stride - s.pad_left + kw;
                if (w < 0 || w >= s.in_width) continue;
                const int in = (n * s.in_height + h) * s.in_width + w;
                const int out = (n * s.out_height + oh) * s.out_width + ow;
                sum = fmaf(x[in * s.in_channels + c], dy[out * s.out_channels + o], sum);
            }
        }
    }
    dweight[(tap * s.in_channels + c) * s.out_channels + o] = sum;
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    const int weights = s.kernel_height * s.kernel_width * s.in_channels * s.out_channels;
    launch("naive", naive, blocks(weights, 256), 256, 0, stream, s, dy, x, dweight);
}
