// An engine copies whole tiles, and one warp orders them.
//
// Serves: channels in multiples of 4, in and out, and images of 128 KB or more; on a device of compute
//   capability 9.0 alone.
// Precision: tf32.
// Change: a ninth warp multiplies nothing: one lane of it asks the tensor copy engine for the tiles of
//   a step, two instructions. Maps, made on the host, say how x and the weights lie; the engine finds
//   the windows, fills what is outside with zeros, and permutes the chunks. Four stages form a ring,
//   with two mbarriers each: `full`, which the last byte that was expected completes, and `room`, at
//   which each of the eight warps arrives when it has multiplied.
// Why: in the rung before all threads work out addresses, with divisions, and start 16 bytes at a
//   time. And all wait for each other at every step; here a warp waits for its operands alone.
// Predicted: 32 times fewer copies: 2 for a step instead of 8 by each of 8 warps.
// Gained: 32 times fewer copies, counted in the emulation. No GPU has timed it.

#include "hopper.cuh"

namespace {

constexpr int kTile = 128, kDepth = 32, kConsumers = 8;   // warps
constexpr int kThreads = 32 * (kConsumers + 1);           // and the producer
constexpr int kStages = 4, kBuffer = 2 * kTile * kDepth;  // floats of a stage: a, then b

__global__ void __launch_bounds__(kThreads)
    copy_engine(const __grid_constant__ CUtensorMap windows,
                const __grid_constant__ CUtensorMap weights, Conv2d s, float* y) {
    float* buffers = aligned_shared();
    uint64_t* full = reinterpret_cast<uint64_t*>(buffers + kStages * kBuffer);
    uint64_t* room = full + kStages;
    const int rows = s.batch * s.out_height * s.out_width, columns = s.out_channels;
    const int chunks = (s.in_channels + kDepth - 1) / kDepth;  // of a tap's channels
    const int steps = s.kernel_height * s.kernel_width * chunks;
    const int first_row = static_cast<int>(blockIdx.x) * kTile;
    const int first_column = static_cast<int>(blockIdx.y) * kTile;
    const int warp = thread_of_block() / 32, lane = thread_of_block() % 32;
    if (thread_of_block() == 0) {
        for (int stage = 0; stage < kStages; ++stage) {
            mbarrier_init(full + stage, 1);
            mbarrier_init(room + stage, kConsumers);
        }
        fence_proxy_async();  // the engine sees them
    }
    __syncthreads();
    if (warp == kConsumers) {
        const int ow = first_row % s.out_width, oh = first_row / s.out_width % s.out_height;
        const int n = first_row / s.out_width / s.out_height;
        for (int step = 0; lane == 0 && step < steps; ++step) {
            const int stage = step % kStages, turn = step / kStages;
            const int tap = step / chunks, channel = step % chunks * kDepth;
            float* a = buffers + stage * kBuffer;
            mbarrier_wait(room + stage, turn % 2 ^ 1);  // in the first turn there is room
            mbarrier_arrive_expect(full + stage, kBuffer * sizeof(float));
            tensor_copy_windows(a, windows, full + stage, channel, ow * s.stride - s.pad_left,
                                oh * s.stride - s.pad_top, n,
                                static_cast<uint16_t>(tap % s.kernel_width),
                                static_cast<uint16_t>(tap / s.kernel_width));
            tensor_copy(a + kTile * kDepth, weights, full + stage, channel, first_column, tap);
        }
        return;
    }
    const int q = lane / 4, c = lane % 4, own_row = warp * 16 + q;
    float sum[kTile / 2] = {};
    for (int step = 0; step < steps; ++step) {
        const int stage = step % kStages, turn = step / kStages;
        mbarrier_wait(full + stage, turn % 2);
        const float* a = buffers + stage * kBuffer;
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
        if (lane == 0) mbarrier_arrive(room + stage, 0);
    }
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
    if (s.in_channels % 4 != 0 || s.out_channels % 4 != 0 || !has_maps(s)) return;
    const float* turned = turned_weights(s, weight, stream, true);
    const dim3 grid(blocks(s.batch * s.out_height * s.out_width, kTile),
                    blocks(s.out_channels, kTile));
    launch("copy_engine", copy_engine, grid, kThreads,
           kPatternBytes + kStages * (kBuffer * sizeof(float) + 2 * sizeof(uint64_t)), stream,
           window_map(s, x, kTile), weight_map(s, turned, kTile), s, y);
}
