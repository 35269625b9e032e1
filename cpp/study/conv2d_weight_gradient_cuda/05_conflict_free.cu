// A layout in which no two lanes that are served together need the same bank.
//
// Serves: channels in multiples of 4, in and out.
// Change: a thread's 8 columns are 4 and 4, half a tile apart, so that neighbouring lanes read
//   neighbouring 16 bytes.
// Why: 8 lanes of 16 bytes are served at once where they are in different banks. Columns of 8
//   neighbours are 32 bytes apart: 8 lanes meet the same 16 banks twice.
// Predicted: 1.5 times fewer wavefronts: of a step's reads, 2 of a take 4 each and 2 of b took 8,
//   now 4: 24 become 16.
// Gained: 1.47 times fewer wavefronts, counted in the emulation. No GPU has timed it.

#include "study.cuh"

namespace {

constexpr int kTile = 128, kDepth = 8, kEach = 8, kThreads = 256;
constexpr int kHalf = kTile / 2;
constexpr int kBuffer = kDepth * (kTile + kTile);  // floats of a step's tiles

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

__device__ float4 load4(const float* p) {
    return p != nullptr ? *reinterpret_cast<const float4*>(p) : make_float4(0, 0, 0, 0);
}

__global__ void __launch_bounds__(kThreads)
    conflict_free(Conv2d s, const float* dy, const float* x, float* dweight) {
    float* buffers = dynamic_shared<float>();
    const int depth = s.batch * s.out_height * s.out_width;
    const int rows = s.kernel_height * s.kernel_width * s.in_channels, columns = s.out_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int line = thread_of_block() / 32, at = thread_of_block() % 32 * 4;
    const int own_row = thread_of_block() / 16 * kEach;
    const int own_column = thread_of_block() % 16 * 4;  // to 3 behind it, and as many at kHalf
    float sum[kEach][kEach] = {};
    float4 from_left, from_right;
    const auto fetch = [&](int k) {  // into registers, while the tile before is multiplied
        from_left = load4(window_at(s, x, k + line, first_row + at));
        const bool inside = k + line < depth && first_column + at < columns;
        from_right = load4(inside ? dy + (k + line) * columns + first_column + at : nullptr);
    };
    const auto put = [&](float* a) {
        *reinterpret_cast<float4*>(a + line * kTile + at) = from_left;
        *reinterpret_cast<float4*>(a + kDepth * kTile + line * kTile + at) = from_right;
    };
    fetch(0);
    put(buffers);
    __syncthreads();
    for (int k = 0; k < depth; k += kDepth) {
        const float* a = buffers + k / kDepth % 2 * kBuffer;
        const float* b = a + kDepth * kTile;
        if (k + kDepth < depth) fetch(k + kDepth);
        for (int step = 0; step < kDepth; ++step) {
            const float4 v[4] = {
                load4(a + step * kTile + own_row), load4(a + step * kTile + own_row + 4),
                load4(b + step * kTile + own_column), load4(b + step * kTile + own_column + kHalf)};
            const float left[kEach] = {v[0].x, v[0].y, v[0].z, v[0].w,
                                       v[1].x, v[1].y, v[1].z, v[1].w};
            const float right[kEach] = {v[2].x, v[2].y, v[2].z, v[2].w,
                                        v[3].x, v[3].y, v[3].z, v[3].w};
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
#pragma unroll
                for (int j = 0; j < kEach; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
            }
        }
        if (k + kDepth < depth) put(buffers + (k / kDepth + 1) % 2 * kBuffer);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
        const int row = first_row + own_row + i;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int column = first_column + own_column + j * kHalf;
            if (row >= rows || column >= columns) continue;
            const float4 four =
                make_float4(sum[i][4 * j], sum[i][4 * j + 1], sum[i][4 * j + 2], sum[i][4 * j + 3]);
            *reinterpret_cast<float4*>(dweight + row * columns + column) = four;
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight, Stream stream) {
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0) return;
    const dim3 grid(blocks(s.out_channels, kTile),
                    blocks(s.kernel_height * s.kernel_width * s.in_channels, kTile));
    launch("conflict_free", conflict_free, grid, kThreads, 2 * kBuffer * sizeof(float), stream, s,
           dy, x, dweight);
}
