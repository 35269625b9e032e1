// Four warps multiply together, and the weights go past their registers.
//
// Serves: channels in multiples of 4, in and out; on a device of compute capability 9.0 alone.
// Precision: tf32.
// Change: wgmma multiplies 64 x 8 by 8 x 128 in one instruction of a warpgroup. The warps load their
//   16 rows of a; b the tensor cores read from shared memory by themselves, where a descriptor says:
//   rows of depths, so the weights are turned before, and rounded, as wgmma cuts off. Stages are of
//   32 channels under one tap; chunk j of row r is stored at j ^ r % 8, the one permutation of such
//   rows that descriptors know.
// Why: with mma every warp loads fragments of both operands, b's once for 64 rows. Without those of b
//   a stage of 32 depths takes 640 wavefronts instead of 1,024, and registers are free. A loop of
//   mma reached 306 TFLOP/s on an H200 (docs/study/results), of 494 that it is said to have.
// Predicted: 16 times fewer math instructions: 16 x 128 x 8 multiply-adds for one of a warp, 16,384
//   instead of 1,024.
// Gained: 16 times fewer math instructions, counted in the emulation. No GPU has timed it.

#include "hopper.cuh"

namespace {

constexpr int kTile = 128, kDepth = 32, kThreads = 256;   // two warpgroups, of 64 rows each
constexpr int kStages = 3, kBuffer = 2 * kTile * kDepth;  // floats of a stage: a, then b

// Where channel c of x lies under a tap of the window of pixel p of y; null: outside of the image, or
// there is no such p or c.
__device__ const float* window_at(const Conv2d& s, const float* x, int p, int tap, int c) {
    const int ow = p % s.out_width, oh = p / s.out_width % s.out_height;
    const int n = p / s.out_width / s.out_height;
    const int h = oh * s.stride - s.pad_top + tap / s.kernel_width;
    const int w = ow * s.stride - s.pad_left + tap % s.kernel_width;
    const bool inside =
        n < s.batch && c < s.in_channels && h >= 0 && h < s.in_height && w >= 0 && w < s.in_width;
    return inside ? x + ((n * s.in_height + h) * s.in_width + w) * s.in_channels + c : nullptr;
}

__global__ void __launch_bounds__(kThreads)
    wgmma(Conv2d s, const float* x, const float* turned, float* y) {
    float* buffers = aligned_shared();
    const int rows = s.batch * s.out_height * s.out_width, columns = s.out_channels;
    const int chunks = (s.in_channels + kDepth - 1) / kDepth;  // of a tap's channels
    const int steps = s.kernel_height * s.kernel_width * chunks;
    const int first_row = static_cast<int>(blockIdx.x) * kTile;
    const int first_column = static_cast<int>(blockIdx.y) * kTile;
    const int q = thread_of_block() % 32 / 4, c = thread_of_block() % 4;
    const int own_row = thread_of_block() / 32 * 16 + q;
    float sum[kTile / 2] = {};
    const auto copy = [&](int step) {
        float* a = buffers + step % kStages * kBuffer;
        const int tap = step / chunks;
        for (int i = thread_of_block(); step < steps && i < kTile * kDepth / 4; i += kThreads) {
            const int line = i / (kDepth / 4), chunk = i % (kDepth / 4);
            const int channel = step % chunks * kDepth + chunk * 4;
            float* target = a + line * kDepth + (chunk ^ line % 8) * 4;
            const float* left = window_at(s, x, first_row + line, tap, channel);
            cp_async16(target, left != nullptr ? left : x, left != nullptr);
            const int column = first_column + line;
            const bool inside = column < columns && channel < s.in_channels;
            const int right = inside ? (tap * columns + column) * s.in_channels + channel : 0;
            cp_async16(target + kTile * kDepth, turned + right, inside);
        }
        cp_async_commit();  // also where nothing is left: the waits count groups
    };
    for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);
    for (int step = 0; step < steps; ++step) {
        cp_async_wait<kStages - 2>();
        fence_proxy_async();  // what this thread has copied is there for wgmma, too
        __syncthreads();
        copy(step + kStages - 1);
        const float* a = buffers + step % kStages * kBuffer;
        const uint64_t b = swizzled_matrix(shared_address(a + kTile * kDepth));
        uint32_t left[4][4];
#pragma unroll
        for (int i = 0; i < 16; ++i) {  // hopper_wgmma.cuh says which elements a lane holds
            const int row = own_row + i % 2 * 8, at = i / 4 * 8 + i / 2 % 2 * 4 + c;
            left[i / 4][i % 4] = to_tf32(a[row * kDepth + (at ^ row % 8 * 4)]);
        }
        wgmma_fence(left);
#pragma unroll
        for (int k = 0; k < 4; ++k) wgmma_tf32<kTile>(sum, left[k], b + 2 * k);  // 32 bytes on
        wgmma_commit();
        wgmma_wait<0>();
    }
    cp_async_wait<0>();
#pragma unroll
    for (int i = 0; i < kTile / 4; ++i) {  // pairs of neighbours
        const int row = first_row + own_row + i % 2 * 8;
        const int column = first_column + i / 2 * 8 + 2 * c;
        if (row < rows && column < columns) {
            const float2 pair = {sum[2 * i], sum[2 * i + 1]};
            *reinterpret_cast<float2*>(y + row * columns + column) = pair;
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* x, const float* weight, float* y, Stream stream) {
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0 || !hopper_is_here()) return;
    const float* turned = turned_weights(s, weight, stream, true);
    const dim3 grid(blocks(s.batch * s.out_height * s.out_width, kTile),
                    blocks(s.out_channels, kTile));
    launch("wgmma", wgmma, grid, kThreads, kPatternBytes + kStages * kBuffer * sizeof(float),
           stream, s, x, turned, y);
}
