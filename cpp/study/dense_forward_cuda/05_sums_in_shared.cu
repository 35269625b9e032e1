// Most parts are added in shared memory, before they are written.
//
// Serves: features in multiples of 4, in and out.
// Change: a block has 8 warps with a part of the inputs each, for the same 128 outputs, whose sums
//   it adds in shared memory. 8 blocks in the grid are left to be added.
// Why: 32 parts of 8 x 4,096 sums are 4 MB to be written and read again, beside 67 MB of weights.
// Predicted: 1.1 times fewer sectors: parts of 8.4 MB become 2.1 MB, of about 80 MB in all.
// Gained: 1.08 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

constexpr int kImages = 8, kWarps = 8, kThreads = kWarps * 32;
constexpr int kParts = 8;             // of the sum, of kWarps each
constexpr int kTile = kImages * 128;  // sums of a warp

__device__ float4 load4(const float* p) { return *reinterpret_cast<const float4*>(p); }

__global__ void __launch_bounds__(kThreads)
    sums_in_shared(Dense s, const float* x, const float* weight, int share, float* parts) {
    float* sums = dynamic_shared<float>();  // [kWarps][kImages][128 features out]
    const int lane = thread_of_block() % 32, warp = thread_of_block() / 32;
    const int first_o = static_cast<int>(blockIdx.x) * 128, o = first_o + 4 * lane;
    const int first = static_cast<int>(blockIdx.y) * kImages;
    const int begin = (static_cast<int>(blockIdx.z) * kWarps + warp) * share;
    const int end = o < s.out_features ? min(begin + share, s.in_features) : begin;
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
        const float4 four = make_float4(sum[b][0], sum[b][1], sum[b][2], sum[b][3]);
        *reinterpret_cast<float4*>(sums + warp * kTile + b * 128 + 4 * lane) = four;
    }
    __syncthreads();
    for (int i = thread_of_block(); i < kTile; i += kThreads) {
        float total = sums[i];
        for (int other = 1; other < kWarps; ++other) total += sums[other * kTile + i];
        const int b = first + i / 128, column = first_o + i % 128;
        const int part = static_cast<int>(blockIdx.z) * s.batch + b;
        if (b < s.batch && column < s.out_features) parts[part * s.out_features + column] = total;
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
    const int share = static_cast<int>(blocks(s.in_features, 4 * kParts * kWarps)) * 4;
    const int count = static_cast<int>(blocks(s.in_features, share * kWarps));
    const int size = s.batch * s.out_features;
    float* parts = scratch(size_t(count) * size);
    const dim3 grid(blocks(s.out_features, 128), blocks(s.batch, kImages),
                    static_cast<unsigned>(count));
    launch("sums_in_shared", sums_in_shared, grid, kThreads, kWarps * kTile * sizeof(float), stream,
           s, x, weight, share, parts);
    launch("add_parts", add_parts, blocks(size, 256), 256, 0, stream, size, count, parts, y);
}
