// A thread an element, each with its own sum; neighbouring threads are neighbouring pixels.
//
// Change: the first rung.
// Why: the others are checked and counted against something that can be read in a minute.
// Predicted: nothing to compare with. 9 channels of the window, the element again and the result:
//   11 requests a warp, of 32 sectors each.
// Gained: nothing to compare with.

#include "study.cuh"

namespace {

__global__ void naive(Lrn s, const float* x, float* y) {
    const int p = thread_number() % s.pixels, c = thread_number() / s.pixels;
    if (c >= s.channels) return;
    const float* pixel = x + p * s.channels;
    float sum = 0;
    for (int other = max(c - s.radius, 0); other <= min(c + s.radius, s.channels - 1); ++other) {
        const float v = pixel[other];
        sum = fmaf(v, v, sum);
    }
    y[p * s.channels + c] = pixel[c] * powf(fmaf(s.alpha, sum, s.bias), -s.beta);
}

}  // namespace

RUNG(const Lrn& s, const float* x, float* y, Stream stream) {
    launch("naive", naive, blocks(s.pixels * s.channels, 256), 256, 0, stream, s, x, y);
}
