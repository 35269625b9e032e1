// A thread an element, each with its own sum; neighbouring threads are neighbouring pixels.
//
// Change: the first rung. s comes from the forward pass, as `sums`.
// Why: the others are checked and counted against something that can be read in a minute.
// Predicted: nothing to compare with. Three arrays at 9 channels, three at the own one and the
//   result: 31 requests a warp, of 32 sectors each.
// Gained: nothing to compare with.

#include "study.cuh"

namespace {

__global__ void naive(Lrn s, const float* dy, const float* x, const float* sums, float* dx) {
    const int p = thread_number() % s.pixels, c = thread_number() / s.pixels;
    if (c >= s.channels) return;
    const int pixel = p * s.channels;
    float sum = 0;
    for (int other = max(c - s.radius, 0); other <= min(c + s.radius, s.channels - 1); ++other) {
        const int i = pixel + other;
        sum = fmaf(dy[i] * x[i], powf(sums[i], -s.beta - 1), sum);
    }
    const int i = pixel + c;
    const float direct = dy[i] * powf(sums[i], -s.beta);
    dx[i] = fmaf(-2 * s.alpha * s.beta * x[i], sum, direct);
}

}  // namespace

RUNG(const Lrn& s, const float* dy, const float* x, const float* sums, float* dx, Stream stream) {
    launch("naive", naive, blocks(s.pixels * s.channels, 256), 256, 0, stream, s, dy, x, sums, dx);
}
