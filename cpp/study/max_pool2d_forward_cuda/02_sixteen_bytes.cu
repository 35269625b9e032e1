// Four channels a thread, by 16 bytes.
//
// Serves: channels in multiples of 4.
// Change: a thread takes the maxima of four neighbouring channels.
// Why: an instruction takes an issue slot and an address, whatever its width.
// Predicted: 4 times fewer requests: four floats each.
// Gained: 3.99 times fewer requests, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

__device__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

// NaN is more than every number, and among equals the first stays.
__device__ float later_maximum(float best, float later) {
    return later > best || later != later ? later : best;
}
__device__ float4 later_maximum(float4 best, float4 later) {
    return make_float4(later_maximum(best.x, later.x), later_maximum(best.y, later.y),
                       later_maximum(best.z, later.z), later_maximum(best.w, later.w));
}

__global__ void sixteen_bytes(MaxPool2d s, const float* x, float* y) {
    const int quads = s.channels / 4, pixels = s.batch * s.out_height * s.out_width;
    const int c = thread_number() % quads * 4, p = thread_number() / quads;
    if (p >= pixels) return;
    const int ow = p % s.out_width, oh = p / s.out_width % s.out_height;
    const int n = p / s.out_width / s.out_height;
    float4 best = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    for (int h = oh * s.stride; h < oh * s.stride + s.window; ++h) {
        for (int w = ow * s.stride; w < ow * s.stride + s.window; ++w) {
            const int pixel = (n * s.in_height + h) * s.in_width + w;
            best = later_maximum(best, load4(x + pixel * s.channels + c));
        }
    }
    *reinterpret_cast<float4*>(y + p * s.channels + c) = best;
}

}  // namespace

RUNG(const MaxPool2d& s, const float* x, float* y, Stream stream) {
    if (s.channels % 4 != 0) return;
    const int quads = s.batch * s.out_height * s.out_width * s.channels / 4;
    launch("sixteen_bytes", sixteen_bytes, blocks(quads, 256), 256, 0, stream, s, x, y);
}
