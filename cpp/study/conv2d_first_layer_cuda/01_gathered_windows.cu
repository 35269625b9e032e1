// A matrix product by tensor cores: every window is gathered, element by element.
//
// Serves: output channels in multiples of 4.
// Precision: tf32.
// Change: the tile, stages and permuted rows of the ladder of conv2d-forward, 128 pixels of y by 64
//   output channels. But three channels are no 16 bytes: a window's elements are copied one by one,
//   4 bytes a lane.
// Why: tensor cores do 1,024 multiply-adds for one instruction of a warp, an FMA 32.
// Predicted: 31 times fewer math instructions: 32, but 363 depths are filled up to 368, and 8 images
//   to whole tiles.
// Gained: 28 times fewer math instructions, counted in the emulation. No GPU has timed it. The rung
//   before leaves out what is outside of the image; tensor cores multiply zeros for it.

#include "study.cuh"

namespace {

constexpr int kRows = 128, kColumns = 64, kDepth = 16, kThreads = 256;
constexpr int kStages = 3, kBuffer = (kRows + kColumns) * kDepth;  // floats of a stage: a, then b

// Where depth k of the window of pixel p of y lies in x; null: outside of the image, or there is no
// such p or k.
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
    gathered_windows(Conv2d s, const float* x, const float* weight, float* y) {
    float* buffers = dynamic_shared<float>();
    const int depth = s.kernel_height * s.kernel_width * s.in_channels;
    const int rows = s.batch * s.out_height * s.out_width, columns = s.out_channels;
    const int first_row = static_cast<int>(blockIdx.x) * kRows;
    const int first_column = static_cast<int>(blockIdx.y) * kColumns;
    const int warp = thread_of_block() / 32, q = thread_of_block() % 32 / 4;
    const int c = thread_of_block() % 4;  // device.cuh says which elements lane 4q + c holds
    const int own_row = warp % 4 * 32 + q, own_column = warp / 4 * 32;  // a warp's 32 by 32
    float sum[2][4][4] = {};
    const auto copy = [&](int k) {
        float* a = buffers + k / kDepth % kStages * kBuffer;
        for (int i = thread_of_block(); k < depth && i < kRows * kDepth; i += kThreads) {
            const int row = i / kDepth, step = i % kDepth;
            const float* left = window_at(s, x, first_row + row, k + step);
            cp_async4(a + row * kDepth + (step ^ row / 2 % 4 * 4), left != nullptr ? left : x,
                      left != nullptr);
        }
        float* b = a + kRows * kDepth;
        for (int i = thread_of_block(); k < depth && i < kColumns * kDepth / 4; i += kThreads) {
            const int line = i / (kColumns / 4), at = i % (kColumns / 4) * 4;
            const bool inside = k + line < depth && first_column + at < columns;
            const float* right =
                inside ? weight + (k + line) * columns + first_column + at : weight;
            cp_async16(b + line * kColumns + (at ^ line % 4 * 8), right, inside);
        }
        cp_async_commit();  // also where nothing is left: the waits count groups
    };
    for (int stage = 0; stage < kStages - 1; ++stage) copy(stage * kDepth);
    for (int k = 0; k < depth; k += kDepth) {
        cp_async_wait<kStages - 2>();
        __syncthreads();
        copy(k + (kStages - 1) * kDepth);
        const float* a = buffers + k / kDepth % kStages * kBuffer;
        const float* b = a + kRows * kDepth;
        for (int step = c; step < kDepth; step += 8) {
            uint32_t left[2][4], right[4][2];
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const int row = own_row + i / 4 * 16 + i % 2 * 8, at = step + i / 2 % 2 * 4;
                left[i / 4][i % 4] = to_tf32(a[row * kDepth + (at ^ row / 2 % 4 * 4)]);
                const int column = own_column + i / 2 * 8 + q, below = step + i % 2 * 4;
                right[i / 2][i % 2] = to_tf32(b[below * kColumns + (column ^ below % 4 * 8)]);
            }
#pragma unroll
            for (int i = 0; i < 8; ++i) mma_tf32(sum[i / 4][i % 4], left[i / 4], right[i % 4]);
        }
    }
    cp_async_wait<0>();
#pragma unroll
    for (int i = 0; i < 16; ++i) {  // pairs of neighbours
        const int row = first_row + own_row + i / 8 * 16 + i % 2 * 8;
        const int column = first_column + own_column + i / 2 % 4 * 8 + 2 * c;
        const float* from = sum[i / 8][i / 2 % 4] + i % 2 * 2;
        if (row < rows && column < columns) {
            const float2 pair = {from[0], from[1]};
            *reinterpret_cast<float2*>(y + row * columns + column) = pair;
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* x, const float* weight, float* y, Stream stream) {
    if (s.out_channels % 4 != 0) return;
    const dim3 grid(blocks(s.batch * s.out_height * s.out_width, kRows),
                    blocks(s.out_channels, kColumns));
    launch("gathered_windows", gathered_windows, grid, kThreads, kStages * kBuffer * sizeof(float),
           stream, s, x, weight, y);
}
