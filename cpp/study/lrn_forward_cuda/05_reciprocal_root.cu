// s^-3/4 from reciprocal square roots, where powf was.
//
// Serves: beta 0.75, radius 4 or less, channels in multiples of 4.
// Change: beta of AlexNet is 3/4, and s^-3/4 = r * sqrt(r) with r = s^-1/2: two instructions of the
//   special unit.
// Why: powf is a logarithm, a product and an exponential with corrections: some 20 instructions and
//   two of the special unit.
// Predicted: as many sectors: memory is as before, the gain is in instructions that the
//   emulation does not count.
// Gained: as many sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

__device__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

// s^-3/4, with r = s^-1/2, as r · sqrt(r).
__device__ float three_quarters(float s) {
    const float r = rsqrtf(s);
    return r * sqrtf(r);
}

__global__ void reciprocal_root(Lrn s, const float* x, float* y) {
    const int first = 4 * thread_number(), c = first % s.channels;
    const bool exists =
        first < s.pixels * s.channels;  // those that don't take part in shuffles, too
    const int lane = thread_of_block() % kWarp;
    const float4 zero = make_float4(0, 0, 0, 0), own = exists ? load4(x + first) : zero;
    float4 left, right;
    left.x = __shfl_up_sync(kAllLanes, own.x, 1);
    left.y = __shfl_up_sync(kAllLanes, own.y, 1);
    left.z = __shfl_up_sync(kAllLanes, own.z, 1);
    left.w = __shfl_up_sync(kAllLanes, own.w, 1);
    right.x = __shfl_down_sync(kAllLanes, own.x, 1);
    right.y = __shfl_down_sync(kAllLanes, own.y, 1);
    right.z = __shfl_down_sync(kAllLanes, own.z, 1);
    right.w = __shfl_down_sync(kAllLanes, own.w, 1);
    if (!exists) return;
    // The ends of a pixel have no neighbours, those of the warp have them elsewhere.
    if (c == 0) left = zero;
    if (c + 4 == s.channels) right = zero;
    if (lane == 0 && c > 0) left = load4(x + first - 4);
    if (lane == kWarp - 1 && c + 4 < s.channels) right = load4(x + first + 4);
    const float v[12] = {left.x, left.y, left.z,  left.w,  own.x,   own.y,
                         own.z,  own.w,  right.x, right.y, right.z, right.w};
    float result[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        float sum = 0;
#pragma unroll
        for (int j = 0; j < 12; ++j) {  // channel c - 4 + j, of the window of c + i
            if (abs(j - 4 - i) <= s.radius) sum = fmaf(v[j], v[j], sum);
        }
        result[i] = v[4 + i] * three_quarters(fmaf(s.alpha, sum, s.bias));
    }
    const float4 four = make_float4(result[0], result[1], result[2], result[3]);
    *reinterpret_cast<float4*>(y + first) = four;
}

}  // namespace

RUNG(const Lrn& s, const float* x, float* y, Stream stream) {
    if (s.radius > 4 || s.channels % 4 != 0 || s.beta != 0.75f) return;
    launch("reciprocal_root", reciprocal_root, blocks(s.pixels * s.channels, 1024), 256, 0, stream,
           s, x, y);
}
