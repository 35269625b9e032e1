// A thread computes 8 x 8 outputs, which stay in registers.
//
// Change: blocks of 128 x 128 outputs and 256 threads, 8 x 8 outputs each, in steps of 8. A thread
//   reads 8 floats of either operand from shared memory for 64 products.
// Why: rung 2 reads shared memory twice for every multiply-add. A multiprocessor starts four
//   multiply-adds of a warp in a cycle, but serves one such read. And a larger tile uses each
//   element 128 times.
// Predicted: 4 times fewer sectors: 256 for 128 x 128 x 8 multiply-adds, where 256 were for 32 x 32
//   x 32.
// Gained: 2.82 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

constexpr int kTile = 128, kDepth = 8, kEach = 8;  // rows and columns of a thread
constexpr int kThreads = kTile / kEach * (kTile / kEach);

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
    register_tile(Conv2d s, const float* dy, const float* x, float* dweight) {
    float* a = dynamic_shared<float>();  // [kDepth][kTile rows], of x
    float* b = a + kDepth * kTile;       // [kDepth][kTile columns], of dy
    const int depth = s.batch * s.out_height * s.out_width;
    const int rows = s.kernel_height * s.kernel_width * s.in_channels, columns = s.out_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int own_row = thread_of_block() / (kTile / kEach) * kEach;
    const int own_column = thread_of_block() % (kTile / kEach) * kEach;
    float sum[kEach][kEach] = {};
    for (int k = 0; k < depth; k += kDepth) {
        for (int i = thread_of_block(); i < kTile * kDepth; i += kThreads) {
            const int line = i / kTile, column = i % kTile;  // column of b, and row of a
            const float* left = window_at(s, x, k + line, first_row + column);
            a[i] = left != nullptr ? *left : 0.0f;
            const bool inside = k + line < depth && first_column + column < columns;
            b[i] = inside ? dy[(k + line) * columns + first_column + column] : 0.0f;
        }
        __syncthreads();
        for (int step = 0; step < kDepth; ++step) {
            float left[kEach], right[kEach];
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                left[i] = a[step * kTile + own_row + i];
                right[i] = b[step * kTile + own_column + i];
            }
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
#pragma unroll
                for (int j = 0; j < kEach; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            const int row = first_row + own_row + i, column = first_column + own_column + j;
            if (row < rows && column < columns) dweight[row * columns + column] = sum[i][j];
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    const dim3 grid(blocks(s.out_channels, kTile),
                    blocks(s.kernel_height * s.kernel_width * s.in_channels, kTile));
    launch("register_tile", register_tile, grid, kThreads, 2 * kDepth * kTile * sizeof(float),
           stream, s, dy, x, dweight);
}
