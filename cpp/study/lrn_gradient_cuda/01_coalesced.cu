// Neighbouring threads are neighbouring channels.
//
// Change: the order of threads, nothing else.
// Why: a warp reads 128 bytes in 4 sectors, or 5 where the window is shifted.
// Predicted: 6.8 times fewer sectors: 24 shifted reads of 5, 6 others and the result of 4: 148
//   instead of 992.
// Gained: 7.38 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

__global__ void coalesced(Lrn s, const float* dy, const float* x, const float* sums, float* dx) {
    const int c = thread_number() % s.channels, p = thread_number() / s.channels;
    if (p >= s.pixels) return;
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
    launch("coalesced", coalesced, blocks(s.pixels * s.channels, 256), 256, 0, stream, s, dy, x,
           sums, dx);
}
