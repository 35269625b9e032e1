// What the device can do at most, as far as the rungs are compared with it: fused multiply-adds of
// float32, and products of tensor cores in tf32, on registers alone.

#include "peak.h"
#include "study.cuh"

namespace alexnet::study {
namespace {

// Independent sums of a thread, or of a warp: more than the latency of one.
constexpr int kChains = 8;
constexpr int kThreads = 256;

__global__ void fma_loop(int steps, float factor, float* out) {
    float sum[kChains];
    for (int i = 0; i < kChains; ++i) sum[i] = static_cast<float>(i);
    for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (float& chain : sum) chain = fmaf(chain, factor, 1.0f);
    }
    float total = 0;
    for (const float chain : sum) total += chain;
    out[thread_number()] = total;
}

__global__ void mma_loop(int steps, float factor, float* out) {
    float sum[kChains][4] = {};
    const uint32_t bits = to_tf32(factor), a[4] = {bits, bits, bits, bits}, b[2] = {bits, bits};
    for (int step = 0; step < steps; ++step) {
#pragma unroll
        for (auto& chain : sum) mma_tf32(chain, a, b);
    }
    float total = 0;
    for (const auto& chain : sum) total += chain[0] + chain[1] + chain[2] + chain[3];
    out[thread_number()] = total;
}

}  // namespace

double run_peak_loop(bool tensor_cores, unsigned blocks, int steps, Stream stream) {
    float* out = scratch(size_t{blocks} * kThreads);
    launch("peak", tensor_cores ? mma_loop : fma_loop, blocks, kThreads, 0, stream, steps, 0.5f,
           out);
    const double warps = static_cast<double>(blocks) * kThreads / kWarp;
    const double warp_flops = tensor_cores ? 2.0 * 16 * 8 * 8 : 2.0 * kWarp;
    return warps * steps * kChains * warp_flops;
}

}  // namespace alexnet::study
