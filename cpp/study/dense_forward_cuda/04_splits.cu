// The sum over inputs is cut among blocks, and the parts are added in order.
//
// Serves: features in multiples of 4, in and out.
// Change: 32 parts of the inputs, each for blocks of its own, which write to working memory; a
//   second kernel adds the 32.
// Why: 4,096 outputs at four a thread are 1,024 threads: 8 blocks for 132 multiprocessors, and
//   memory is only as fast as what is on its way.
// Predicted: 32 times more blocks: 8 become 256.
// Gained: 32 times more blocks, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

constexpr int kImages = 8, kThreads = 128;
constexpr int kParts = 32;  // of the sum

__device__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

__global__ void __launch_bounds__(kThreads)
    splits(Dense s, const float* x, const float* weight, int share, float* parts) {
    const int o = 4 * thread_number(), first = static_cast<int>(blockIdx.y) * kImages;
    if (o >= s.out_features) return;
    const int begin = static_cast<int>(blockIdx.z) * share, end = min(begin + share, s.in_features);
    float sum[kImages][4] = {};
    for (int i = begin; i < end; i += 4) {
        float w[4][4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            *reinterpret_cast<float4*>(w[k]) = load4(weight + (i + k) * s.out_features + o);
        }
#pragma unroll
        for (int b = 0; b < kImages; ++b) {
            const float4 v = load4(x + min(first + b, s.batch - 1) * s.in_features + i);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                sum[b][j] = fmaf(v.x, w[0][j], sum[b][j]);
                sum[b][j] = fmaf(v.y, w[1][j], sum[b][j]);
                sum[b][j] = fmaf(v.z, w[2][j], sum[b][j]);
                sum[b][j] = fmaf(v.w, w[3][j], sum[b][j]);
            }
        }
    }
#pragma unroll
    for (int b = 0; b < kImages; ++b) {
        if (first + b >= s.batch) break;
        const float4 four = make_float4(sum[b][0], sum[b][1], sum[b][2], sum[b][3]);
        *reinterpret_cast<float4*>(
            parts + ((static_cast<int>(blockIdx.z) * s.batch + first + b) * s.out_features + o)) =
            four;
    }
}

// The parts of a sum in ascending order: the same bits on every run.
__global__ void add_parts(int size, int count, const float* parts, float* y) {
    const int i = thread_number();
    if (i >= size) return;
    float sum = parts[i];
    for (int part = 1; part < count; ++part) sum += parts[part * size + i];
    y[i] = sum;
}

}  // namespace

RUNG(const Dense& s, const float* x, const float* weight, float* y, Stream stream) {
    if (s.in_features % 4 != 0 || s.out_features % 4 != 0) return;
    const int share = static_cast<int>(blocks(s.in_features, 4 * kParts)) * 4;
    const int count = static_cast<int>(blocks(s.in_features, share)),
              size = s.batch * s.out_features;
    float* parts = scratch(size_t(count) * size);
    const dim3 grid(blocks(s.out_features, 4 * kThreads), blocks(s.batch, kImages),
                    static_cast<unsigned>(count));
    launch("splits", splits, grid, kThreads, 0, stream, s, x, weight, share, parts);
    launch("add_parts", add_parts, blocks(size, 256), 256, 0, stream, size, count, parts, y);
}
