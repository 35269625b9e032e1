// Four channels a thread, by 16 bytes.
//
// Serves: channels in multiples of 4.
// Change: a thread has four neighbouring channels.
// Why: an instruction takes an issue slot and an address, whatever its width.
// Predicted: 4 times fewer requests: four floats each.
// Gained: 3.01 times fewer requests, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

__device__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

__global__ void sixteen_bytes(MaxPool2d s, const float* dy, const float* taps, float* dx) {
    const int quads = s.channels / 4, pixels = s.batch * s.in_height * s.in_width;
    const int c = thread_number() % quads * 4, p = thread_number() / quads;
    if (p >= pixels) return;
    const int w = p % s.in_width, h = p / s.in_width % s.in_height,
              n = p / s.in_width / s.in_height;
    float4 sum = make_float4(0, 0, 0, 0);
    // The windows that cover the pixel.
    const int first_oh = h < s.window ? 0 : (h - s.window) / s.stride + 1;
    const int first_ow = w < s.window ? 0 : (w - s.window) / s.stride + 1;
    for (int oh = first_oh; oh <= min(h / s.stride, s.out_height - 1); ++oh) {
        for (int ow = first_ow; ow <= min(w / s.stride, s.out_width - 1); ++ow) {
            const int i = ((n * s.out_height + oh) * s.out_width + ow) * s.channels + c;
            const auto tap = static_cast<float>((h - oh * s.stride) * s.window + w - ow * s.stride);
            const float4 first = load4(taps + i), gradient = load4(dy + i);
            sum.x += first.x == tap ? gradient.x : 0;
            sum.y += first.y == tap ? gradient.y : 0;
            sum.z += first.z == tap ? gradient.z : 0;
            sum.w += first.w == tap ? gradient.w : 0;
        }
    }
    *reinterpret_cast<float4*>(dx + p * s.channels + c) = sum;
}

}  // namespace

RUNG(const MaxPool2d& s, const float* dy, const float*, const float* taps, float* dx,
     Stream stream) {
    if (s.channels % 4 != 0) return;
    const int quads = s.batch * s.in_height * s.in_width * s.channels / 4;
    launch("sixteen_bytes", sixteen_bytes, blocks(quads, 256), 256, 0, stream, s, dy, taps, dx);
}
