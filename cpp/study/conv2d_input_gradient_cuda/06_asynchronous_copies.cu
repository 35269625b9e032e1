// Copies that go past the registers, two steps ahead.
//
// Serves: channels in multiples of 4, in and out.
// Change: cp.async writes 16 bytes to shared memory by itself; three stages of 16 steps, of which
//   two are on their way while one is multiplied. a lies as it comes, [row][step], since such
//   copies can't turn it: a thread reads four steps of a row at once.
// Why: registers no longer hold what is on its way, so more can be: memory answers after some 500
//   cycles, in which a multiprocessor wants 32 KB or more to be on their way. And steps of 16 have
//   half as many barriers.
// Predicted: 2 times fewer barriers: one for 16 steps instead of 8. The reads are as many: a takes
//   8 for four steps, b as before.
// Gained: 1.88 times fewer barriers, counted in the emulation. No GPU has timed it.

#include "study.cuh"
#include "turned.cuh"

namespace {

constexpr int kTile = 128, kDepth = 16, kEach = 8, kThreads = 256, kHalf = kTile / 2;
constexpr int kStages = 3, kBuffer = 2 * kTile * kDepth;  // floats of a stage: a, then b

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
    asynchronous_copies(Conv2d s, const float* dy, const float* turned, float* dx) {
    float* buffers = dynamic_shared<float>();
    const int depth = s.kernel_height * s.kernel_width * s.out_channels;
    const int rows = s.batch * s.in_height * s.in_width, columns = s.in_channels;
    const int first_row = static_cast<int>(blockIdx.y) * kTile;
    const int first_column = static_cast<int>(blockIdx.x) * kTile;
    const int own_row = thread_of_block() / 16 * kEach, own_column = thread_of_block() % 16 * 4;
    float sum[kEach][kEach] = {};
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
        cp_async_wait<kStages - 2>();  // of this thread's copies
        __syncthreads();  // those of the others; and all have read the stage that is written next
        copy(k + (kStages - 1) * kDepth);
        const float* a = buffers + k / kDepth % kStages * kBuffer;
        const float* b = a + kTile * kDepth;
        for (int step = 0; step < kDepth; step += 4) {
            float right[4][kEach];
#pragma unroll
            for (int j = 0; j < 4 * kEach; j += 4) {
                *reinterpret_cast<float4*>(&right[0][0] + j) = *reinterpret_cast<const float4*>(
                    b + (step + j / kEach) * kTile + own_column + j % kEach / 4 * kHalf);
            }
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                const auto left =
                    *reinterpret_cast<const float4*>(a + (own_row + i) * kDepth + step);
#pragma unroll
                for (int j = 0; j < kEach; ++j) {
                    sum[i][j] = fmaf(left.x, right[0][j], sum[i][j]);
                    sum[i][j] = fmaf(left.y, right[1][j], sum[i][j]);
                    sum[i][j] = fmaf(left.z, right[2][j], sum[i][j]);
                    sum[i][j] = fmaf(left.w, right[3][j], sum[i][j]);
                }
            }
        }
    }
    cp_async_wait<0>();
#pragma unroll
    for (int i = 0; i < 2 * kEach; ++i) {
        const int row = first_row + own_row + i / 2, first_sum = i % 2 * 4;
        const int column = first_column + own_column + i % 2 * kHalf;
        if (row >= rows || column >= columns) continue;
        const float* from = sum[i / 2] + first_sum;
        const float4 four = make_float4(from[0], from[1], from[2], from[3]);
        *reinterpret_cast<float4*>(dx + row * columns + column) = four;
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx, Stream stream) {
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0) return;
    const float* turned = turned_weights(s, weight, stream);
    const dim3 grid(blocks(s.in_channels, kTile),
                    blocks(s.batch * s.in_height * s.in_width, kTile));
    launch("asynchronous_copies", asynchronous_copies, grid, kThreads,
           kStages * kBuffer * sizeof(float), stream, s, dy, turned, dx);
}
