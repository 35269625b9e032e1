// Neighbouring threads are neighbouring channels.
//
// Change: the order of threads, nothing else.
// Why: channels are what lies side by side in NHWC: a warp reads and writes 128 bytes in 4 sectors.
// Predicted: 8 times fewer sectors: 4 for each request instead of 32.
// Gained: 8.00 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

// NaN is more than every number, and among equals the first stays.
__device__ float later_maximum(float best, float later) {
    return later > best || later != later ? later : best;
}

__global__ void coalesced(MaxPool2d s, const float* x, float* y) {
    const int pixels = s.batch * s.out_height * s.out_width;
    const int c = thread_number() % s.channels, p = thread_number() / s.channels;
    if (p >= pixels) return;
    const int ow = p % s.out_width, oh = p / s.out_width % s.out_height;
    const int n = p / s.out_width / s.out_height;
    float best = -INFINITY;
    for (int h = oh * s.stride; h < oh * s.stride + s.window; ++h) {
        for (int w = ow * s.stride; w < ow * s.stride + s.window; ++w) {
            const int pixel = (n * s.in_height + h) * s.in_width + w;
            best = later_maximum(best, x[pixel * s.channels + c]);
        }
    }
    y[p * s.channels + c] = best;
}

}  // namespace

RUNG(const MaxPool2d& s, const float* x, float* y, Stream stream) {
    const int outputs = s.batch * s.out_height * s.out_width * s.channels;
    launch("coalesced", coalesced, blocks(outputs, 256), 256, 0, stream, s, x, y);
}
