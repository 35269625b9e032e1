// A thread computes 8 x 8 outputs, which stay in registers.
//
// Change: blocks of 128 x 128 outputs and 256 threads, 8 x 8 outputs each, in steps of 8. A thread
//   reads 8 floats of either operand from shared memory for 64 products.
// Why: rung 2 reads shared memory twice for every multiply-add. A multiprocessor starts four
//   multiply-adds of a warp in a cycle, but serves one such read. And a larger tile uses each
//   element 128 times.
// Predicted: 3.4 times fewer sectors: of conv3 192 columns are 1.5 tiles of 128, but 6 of 32: dy is
//   read 2 times instead of 6, weights 11 instead of 43 times.
// Gained: 3.04 times fewer sectors, counted in the emulation. No GPU has timed it.

#include "study.cuh"
#include "turned.cuh"

namespace {

constexpr int kTile = 128, kDepth = 8, kEach = 8;  // rows and columns of a thread
constexpr int kThreads = kTile / kEach * (kTile / kEach);

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
    register_tile(Conv2d s, const float* dy, const float* turned, float* dx) {
    float* a = dynamic_shared<float>();  // [kDepth][kTile rows], of dy
    float* b = a + kDepth * kTile;       // [kDepth][kTile columns], of turned
    const int depth = s.kernel_height * s.kernel_width * s.out_channels;
    const int rows = s.batch * s.in_height * s.in_width, columns = s.in_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int own_row = thread_of_block() / (kTile / kEach) * kEach;
    const int own_column = thread_of_block() % (kTile / kEach) * kEach;
    float sum[kEach][kEach] = {};
    for (int k = 0; k < depth; k += kDepth) {
        for (int i = thread_of_block(); i < kTile * kDepth; i += kThreads) {
            const int row = i / kDepth, step = i % kDepth;
            const float* left = gradient_at(s, dy, first_row + row, k + step);
            a[step * kTile + row] = left != nullptr ? *left : 0.0f;
            const int line = i / kTile, column = i % kTile;
            const bool inside = k + line < depth && first_column + column < columns;
            b[i] = inside ? turned[(k + line) * columns + first_column + column] : 0.0f;
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
            if (row < rows && column < columns) dx[row * columns + column] = sum[i][j];
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    const float* turned = turned_weights(s, weight, stream);
    const dim3 grid(blocks(s.in_channels, kTile),
                    blocks(s.batch * s.in_height * s.in_width, kTile));
    launch("register_tile", register_tile, grid, kThreads, 2 * kDepth * kTile * sizeof(float),
           stream, s, dy, turned, dx);
}
