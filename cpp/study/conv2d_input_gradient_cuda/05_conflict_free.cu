// A layout in which no two lanes that are served together need the same bank.
//
// Serves: channels in multiples of 4, in and out.
// Change: a thread's 8 columns are 4 and 4, half a tile apart, so that neighbouring lanes read
//   neighbouring 16 bytes. A step of a is 4 words longer than its rows.
// Why: 8 lanes of 16 bytes are served at once where they are in different banks. Columns of 8
//   neighbours are 32 bytes apart: 8 lanes meet the same 16 banks twice and the stores to a, 4
//   scalars of neighbouring steps, meet half of the banks twice.
// Predicted: 1.5 times fewer wavefronts: of a step's reads, 2 of a take 4 each and 2 of b took 8,
//   now 4: 24 become 16, and stores of 12 become 8 a step of 8.
// Gained: 1.50 times fewer wavefronts, counted in the emulation. No GPU has timed it.

#include "study.cuh"
#include "turned.cuh"

namespace {

constexpr int kTile = 128, kDepth = 8, kEach = 8, kThreads = 256;
constexpr int kHalf = kTile / 2;
// Words from one step of a to the next: its stores, 4 steps and 16 rows apart, meet no bank twice.
constexpr int kPitch = kTile + 4;
constexpr int kBuffer = kDepth * (kPitch + kTile);  // floats of a step's tiles

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

__device__ float4 load4(const float* p) {
    return p != nullptr ? *reinterpret_cast<const float4*>(p) : make_float4(0, 0, 0, 0);
}

__global__ void __launch_bounds__(kThreads)
    conflict_free(Conv2d s, const float* dy, const float* turned, float* dx) {
    float* buffers = dynamic_shared<float>();
    const int depth = s.kernel_height * s.kernel_width * s.out_channels;
    const int rows = s.batch * s.in_height * s.in_width, columns = s.in_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int left_row = thread_of_block() / 2, left_step = thread_of_block() % 2 * 4;
    const int line = thread_of_block() / 32, at = thread_of_block() % 32 * 4;
    const int own_row = thread_of_block() / 16 * kEach;
    const int own_column = thread_of_block() % 16 * 4;  // to 3 behind it, and as many at kHalf
    float sum[kEach][kEach] = {};
    float4 from_left, from_right;
    const auto fetch = [&](int k) {  // into registers, while the tile before is multiplied
        from_left = load4(gradient_at(s, dy, first_row + left_row, k + left_step));
        const bool inside = k + line < depth && first_column + at < columns;
        from_right = load4(inside ? turned + (k + line) * columns + first_column + at : nullptr);
    };
    const auto put = [&](float* a) {
        a[left_step * kPitch + left_row] = from_left.x;
        a[(left_step + 1) * kPitch + left_row] = from_left.y;
        a[(left_step + 2) * kPitch + left_row] = from_left.z;
        a[(left_step + 3) * kPitch + left_row] = from_left.w;
        *reinterpret_cast<float4*>(a + kDepth * kPitch + line * kTile + at) = from_right;
    };
    fetch(0);
    put(buffers);
    __syncthreads();
    for (int k = 0; k < depth; k += kDepth) {
        const float* a = buffers + k / kDepth % 2 * kBuffer;
        const float* b = a + kDepth * kPitch;
        if (k + kDepth < depth) fetch(k + kDepth);
        for (int step = 0; step < kDepth; ++step) {
            const float4 v[4] = {
                load4(a + step * kPitch + own_row), load4(a + step * kPitch + own_row + 4),
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
            *reinterpret_cast<float4*>(dx + row * columns + column) = four;
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0) return;
    const float* turned = turned_weights(s, weight, stream);
    const dim3 grid(blocks(s.in_channels, kTile),
                    blocks(s.batch * s.in_height * s.in_width, kTile));
    launch("conflict_free", conflict_free, grid, kThreads, 2 * kBuffer * sizeof(float), stream, s,
           dy, turned, dx);
}
