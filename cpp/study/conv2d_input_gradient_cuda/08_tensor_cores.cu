// The same tile by tensor cores, operands rounded to tf32.
//
// Serves: channels in multiples of 4, in and out.
// Precision: tf32.
// Change: a warp multiplies 16 x 8 by 8 x 8 in one instruction: 64 x 32 outputs a warp, 16 mma for
//   8 steps. Operands are rounded to 10 bits of mantissa when they are read, sums are float32. It
//   follows rung 6.
// Why: a tensor core does 1,024 multiply-adds for one instruction of a warp, an FMA 32.
// Predicted: 32 times fewer math instructions: 1,024 multiply-adds for 32.
// Gained: 24 times fewer math instructions, counted in the emulation. No GPU has timed it.

#include "study.cuh"
#include "turned.cuh"

namespace {

constexpr int kTile = 128, kDepth = 16, kThreads = 256;
constexpr int kStages = 3, kBuffer = 2 * kTile * kDepth;  // floats of a stage: a, then b
constexpr int kWarpRows = 64, kWarpColumns = 32;          // of a warp: 4 by 4 products

// Where dy lies that tap and channel k of pixel p of x has its gradient from; null: there is none.
__device__ const float* gradient_at(const Conv2d& s, const float* dy, int p, int k) {
    const int w = p % s.in_width, h = p / s.in_width % s.in_height;
    const int n = p / s.in_width / s.in_height, tap = k / s.out_channels;
    const int down = h + s.pad_top - tap / s.kernel_width;
    const int right = w + s.pad_left - tap % s.kernel_width;
    const int oh = down / s.stride, ow = right / s.stride;
    const bool inside = n < s.batch && tap < s.kernel_height * s.kernel_width && down >= 0 &&
                        right >= 0 && oh * s.stride == down && ow * s.stride == right &&
                        oh < s.out_height && ow < s.out_width;
    const int pixel = (n * s.out_height + oh) * s.out_width + ow;
    return inside ? dy + pixel * s.out_channels + k % s.out_channels : nullptr;
}

__global__ void __launch_bounds__(kThreads)
    tensor_cores(Conv2d s, const float* dy, const float* turned, float* dx) {
    float* buffers = dynamic_shared<float>();
    const int depth = s.kernel_height * s.kernel_width * s.out_channels;
    const int rows = s.batch * s.in_height * s.in_width, columns = s.in_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int warp = thread_of_block() / 32, q = thread_of_block() % 32 / 4;
    const int c = thread_of_block() % 4;  // device.cuh says which elements lane 4q + c holds
    const int own_row = warp % 2 * kWarpRows + q, own_column = warp / 2 * kWarpColumns;
    float sum[4][4][4] = {};
    const auto copy = [&](int k) {
        float* a = buffers + k / kDepth % kStages * kBuffer;
        for (int i = thread_of_block(); k < depth && i < kTile * kDepth / 4; i += kThreads) {
            const int row = i / (kDepth / 4), step = i % (kDepth / 4) * 4;
            const float* left = gradient_at(s, dy, first_row + row, k + step);
            cp_async16(a + row * kDepth + step, left != nullptr ? left : dy, left != nullptr);
            const int line = i / (kTile / 4), at = i % (kTile / 4) * 4;
            const bool inside = k + line < depth && first_column + at < columns;
            const float* right =
                inside ? turned + (k + line) * columns + first_column + at : turned;
            cp_async16(a + kTile * kDepth + line * kTile + at, right, inside);
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
                    left[i][e] = to_tf32(a[row * kDepth + at]);
                }
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const int column = own_column + 8 * i + q, at = step + 4 * e;
                    right[i][e] = to_tf32(b[at * kTile + column]);
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
            *reinterpret_cast<float2*>(dx + row * columns + column) = pair;
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0) return;
    const float* turned = turned_weights(s, weight, stream);
    const dim3 grid(blocks(s.in_channels, kTile),
                    blocks(s.batch * s.in_height * s.in_width, kTile));
    launch("tensor_cores", tensor_cores, grid, kThreads, kStages * kBuffer * sizeof(float), stream,
           s, dy, turned, dx);
}
