// Fragments without bank conflicts: rows are permuted by exclusive or.
//
// Serves: channels in multiples of 4, in and out.
// Precision: tf32.
// Change: of a and of b, float j of step k at j ^ 8 (k % 4). Copies and reads apply the same
//   formula.
// Why: the lanes of a fragment read 8 rows by 4 steps. Steps are 128 words apart, and all 4 meet
//   the same 8 banks: every read takes 4 wavefronts. Padding would cure reads, but break the rows
//   of 32 words that the copies of 8 lanes fill.
// Predicted: 3.2 times fewer wavefronts: a warp's 48 reads of a stage take 48 instead of 192, the
//   copies 16 as before: 64 instead of 208.
// Gained: 3.25 times fewer wavefronts, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

constexpr int kTile = 128, kDepth = 16, kThreads = 256;
constexpr int kStages = 3, kBuffer = 2 * kTile * kDepth;  // floats of a stage: a, then b
constexpr int kWarpRows = 64, kWarpColumns = 32;          // of a warp: 4 by 4 products

// Where x lies under tap and channel k of the window of pixel p of y; null: outside of the image, or
// there is no such p or k.
__device__ const float* window_at(const Conv2d& s, const float* x, int p, int k) {
    const int ow = p % s.out_width, oh = p / s.out_width % s.out_height;
    const int n = p / s.out_width / s.out_height, tap = k / s.in_channels;
    const int h = oh * s.stride - s.pad_top + tap / s.kernel_width;
    const int w = ow * s.stride - s.pad_left + tap % s.kernel_width;
    const bool inside = n < s.batch && tap < s.kernel_height * s.kernel_width && h >= 0 &&
                        h < s.in_height && w >= 0 && w < s.in_width;
    const int pixel = (n * s.in_height + h) * s.in_width + w;
    return inside ? x + pixel * s.in_channels + k % s.in_channels : nullptr;
}

__global__ void __launch_bounds__(kThreads)
    swizzle(Conv2d s, const float* dy, const float* x, float* dweight) {
    float* buffers = dynamic_shared<float>();
    const int depth = s.batch * s.out_height * s.out_width;
    const int rows = s.kernel_height * s.kernel_width * s.in_channels, columns = s.out_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int warp = thread_of_block() / 32, q = thread_of_block() % 32 / 4;
    const int c = thread_of_block() % 4;  // device.cuh says which elements lane 4q + c holds
    const int own_row = warp % 2 * kWarpRows + q, own_column = warp / 2 * kWarpColumns;
    float sum[4][4][4] = {};
    const auto copy = [&](int k) {
        float* a = buffers + k / kDepth % kStages * kBuffer;
        for (int i = thread_of_block(); k < depth && i < kTile * kDepth / 4; i += kThreads) {
            const int line = i / (kTile / 4), at = i % (kTile / 4) * 4;
            const float* left = window_at(s, x, k + line, first_row + at);
            cp_async16(a + line * kTile + (at ^ line % 4 * 8), left != nullptr ? left : x,
                       left != nullptr);
            const bool inside = k + line < depth && first_column + at < columns;
            const float* right = inside ? dy + (k + line) * columns + first_column + at : dy;
            cp_async16(a + kTile * kDepth + line * kTile + (at ^ line % 4 * 8), right, inside);
        }
        cp_async_commit();  // also where nothing is left: the waits count groups
    };
    for (int stage = 0; stage < kStages - 1; ++stage) copy(stage * kDepth);
    for (int k = 0; k < depth; k += kDepth) {
        cp_async_wait<kStages - 2>();
        __syncthreads();
        copy(k + (kStages - 1) * kDepth);
        const float* a = buffers + k / kDepth % kStages * kBuffer;
        const float* b = a + kTile * kDepth;
        for (int step = c; step < kDepth; step += 8) {
            uint32_t left[4][4], right[4][2];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const int row = own_row + 16 * i + e % 2 * 8, at = step + e / 2 * 4;
                    left[i][e] = to_tf32(a[at * kTile + (row ^ at % 4 * 8)]);
                }
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const int column = own_column + 8 * i + q, at = step + 4 * e;
                    right[i][e] = to_tf32(b[at * kTile + (column ^ at % 4 * 8)]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) mma_tf32(sum[i][j], left[i], right[j]);
            }
        }
    }
    cp_async_wait<0>();
#pragma unroll
    for (int i = 0; i < 32; ++i) {  // pairs of neighbours
        const int row = first_row + own_row + i / 8 * 16 + i % 2 * 8;
        const int column = first_column + own_column + i / 2 % 4 * 8 + 2 * c;
        const float* from = sum[i / 8][i / 2 % 4] + i % 2 * 2;
        if (row < rows && column < columns) {
            const float2 pair = {from[0], from[1]};
            *reinterpret_cast<float2*>(dweight + row * columns + column) = pair;
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0) return;
    const dim3 grid(blocks(s.out_channels, kTile),
                    blocks(s.kernel_height * s.kernel_width * s.in_channels, kTile));
    launch("swizzle", swizzle, grid, kThreads, kStages * kBuffer * sizeof(float), stream, s, dy, x,
           dweight);
}
