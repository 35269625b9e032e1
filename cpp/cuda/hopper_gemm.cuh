// The tile product of Hopper: C = act(bias + A · B) in tf32 with wgmma, as tile_gemm.cuh computes it
// with mma, but copied by the tensor copy engine.
//
//   C[i,j] = act(bias + sum over k of A[i,k] · B[k,j])         (m, n) = (m, depth) · (depth, n)
//
// A comes from memory as it is, through registers, where it is rounded: that allows either of its
//   indices to be the one of neighbours. B has been rounded and put into rows of depths before
//   (hopper_launch.cuh), since wgmma reads tf32 from shared memory in that order alone, and cuts
//   off what is not rounded.
// Blocks: one a multiprocessor, persistent over items: tiles of kRows × kColumns, times splits of
//   the depth. Of the last warpgroup one thread has the copy engine fill stages of 32 depths, as
//   long as there is room; the others multiply, 64 rows each, and store what they have added.
// Shared memory: kStages stages, each with rows of 128 bytes, whose 16-byte chunks are permuted
//   within eight rows (swizzle of 128 bytes): of A 32 depths a row or, where depths are not
//   neighbours, 32 rows of A a row, in boxes of 32 depths; of B 32 depths a row. No bank conflicts.
// Cost of a step of 32 depths: 64 · kRows · kColumns FLOP; 128 · (kRows + kColumns) bytes from L2
//   into shared memory, from which wgmma reads B once for each 64 rows, and threads A. Cycles, of
//   tensor cores and shared memory: 1024 and 1024 (128 × 256), 1152 and 1152 (192 × 192), 512 and
//   640 (128 × 128): wide tiles.
// Numerics: both operands are rounded to 10 bits of mantissa, ties away from zero, as tile_gemm.cuh
//   does it; exact products are added in float32 as the tensor cores do, in order of depth; splits
//   are added in order by another kernel. What a tile is made of depends on the shape alone.

#ifndef ALEXNET_CUDA_HOPPER_GEMM_CUH_
#define ALEXNET_CUDA_HOPPER_GEMM_CUH_

#include "hopper_product.cuh"

namespace alexnet::cuda {

// A stage and the parity of its turn; stages are taken in a circle, on from item to item.
template <class Tile>
struct HopperStage {
    uint32_t number = 0, parity = 0;
    __device__ void advance() {
        if (++number < Tile::kStages) return;
        number = 0;
        parity ^= 1;
    }
};

template <class Tile>
struct HopperShared {
    unsigned char* stages;
    uint64_t *full, *room;  // mbarriers: the stage has arrived; it has been multiplied

    __device__ HopperShared() {
        unsigned char* shared = dynamic_shared<unsigned char>();
        stages = shared + (0u - shared_address(shared)) % kPatternBytes;
        full = reinterpret_cast<uint64_t*>(stages + Tile::kStages * Tile::kStageBytes);
        room = full + Tile::kStages;
    }
    __device__ unsigned char* a(uint32_t stage) const { return stages + stage * Tile::kStageBytes; }
    __device__ unsigned char* b(uint32_t stage) const { return a(stage) + Tile::kBytesA; }
};

// --- copying -------------------------------------------------------------------------------------

// Channels from 32 · chunk on, under a tap, of the windows from number `first` on.
__device__ inline void copy_windows(const HopperProduct& p, void* target, uint64_t* full,
                                    uint32_t first, uint32_t tap, uint32_t chunk) {
    const HopperWindows& w = p.windows;
    const uint32_t line = first / w.across, image = line / w.down;
    const int j = static_cast<int>(first - line * w.across);
    const int i = static_cast<int>(line - image * w.down);
    const uint32_t down = tap / w.taps_across;
    tensor_copy_windows(target, p.a, full, static_cast<int>(chunk * kStepDepth),
                        j * w.stride_w + w.left, i * w.stride_h + w.top, static_cast<int>(image),
                        static_cast<uint16_t>(tap - down * w.taps_across),
                        static_cast<uint16_t>(down));
}

// Start the copies of one step of an item.
template <class Tile, bool depth_contiguous>
__device__ void fill(const HopperProduct& p, const HopperItem& item, uint32_t step,
                     unsigned char* a, unsigned char* b, uint64_t* full) {
    const uint32_t chunks = p.windows.chunks();
    const int depth = static_cast<int>(step * kStepDepth);
    mbarrier_arrive_expect(full, Tile::kStageBytes);
    if constexpr (depth_contiguous) {
        if (p.convolution) {
            copy_windows(p, a, full, item.row, step / chunks, step % chunks);
        } else {
            tensor_copy(a, p.a, full, depth, static_cast<int>(item.row));
        }
    } else {
        for (uint32_t box = 0; box < Tile::kRows / 32; ++box) {
            const uint32_t row = item.row + 32 * box;
            unsigned char* target = a + box * kBoxBytes;
            if (p.convolution) {  // rows past the last one are not stored: any tap will do
                const uint32_t unit = min(row, p.m - 1) / 32;
                copy_windows(p, target, full, step * kStepDepth, unit / chunks, unit % chunks);
            } else {
                tensor_copy(target, p.a, full, static_cast<int>(row), depth);
            }
        }
    }
    tensor_copy(b, p.b, full, depth, static_cast<int>(item.column));
}

// --- multiplying ---------------------------------------------------------------------------------

// Round a step's part of A, 16 rows of a warp, into the registers of four products. Where depths are
// not neighbours, those of eight are taken in the order 0, 2, 4, 6, 1, 3, 5, 7, as B has them: then
// the lanes read different banks.
template <bool depth_contiguous>
__device__ __forceinline__ void load_a(uint32_t (&registers)[4][4], const float* tile, uint32_t row,
                                       uint32_t lane) {
    constexpr uint32_t kRowFloats = kRowBytes / 4;
    const uint32_t q = lane / 4, c = lane % 4;
    uint32_t start;
    if constexpr (depth_contiguous) {
        start = (row + q) * kRowFloats + q * 4 + c;  // chunk 0 of this row is its chunk q
    } else {
        const uint32_t in_box = row % 32 + q;
        start =
            row / 32 * (kBoxBytes / 4) + 2 * c * kRowFloats + (in_box / 4 ^ 2 * c) * 4 + in_box % 4;
    }
#pragma unroll
    for (uint32_t k = 0; k < 4; ++k) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t lower = i % 2, later = i / 2;  // row + 8; the other four depths
            const uint32_t place =
                depth_contiguous ? (start ^ (2 * k + later) * 4) + lower * 8 * kRowFloats
                                 : (start ^ (lower * 8 + later * 4)) + (8 * k + later) * kRowFloats;
            registers[k][i] = to_tf32(tile[place]);
        }
    }
}

// Bias and ReLU, and out to memory: 64 rows of a warpgroup, of which a thread has two, in them two
// neighbours in each group of eight columns.
template <uint32_t columns>
__device__ void store(const HopperProduct& p, const HopperItem& item, float (&sums)[columns / 2],
                      uint32_t row, uint32_t lane) {
    constexpr uint32_t kGroups = columns / 8;
    const uint32_t first_column = item.column + 2 * (lane % 4);
    const uint32_t rows[2] = {row + lane / 4, row + lane / 4 + 8};
    const bool last = p.splits == 1;
    const auto for_each = [&](auto use) {  // use(row of C, column, sums)
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint32_t i = rows[half];
            if (i >= p.m || !p.find_row(i)) continue;
#pragma unroll
            for (uint32_t group = 0; group < kGroups; ++group) {
                const uint32_t j = first_column + 8 * group;
                if (j < p.n) use(i, j, sums[4 * group + 2 * half], sums[4 * group + 2 * half + 1]);
            }
        }
    };
    if (last && p.bias) {
        for_each([&](uint32_t i, uint32_t j, float& left, float& right) {
            left += p.bias[p.transposed ? i : j];
            right += p.bias[p.transposed ? i : min(j + 1, p.n - 1)];
        });
    }
    if (last && p.relu) {  // NaN stays NaN
#pragma unroll
        for (uint32_t i = 0; i < columns / 2; ++i) sums[i] = sums[i] < 0.0f ? 0.0f : sums[i];
    }
    float* c = p.c + item.split * p.split_size;
    const size_t along_row = p.transposed ? p.stride : 1,
                 along_column = p.transposed ? 1 : p.stride;
    if (!p.transposed && p.stride % 2 == 0 && p.n % 2 == 0 &&
        reinterpret_cast<uintptr_t>(p.c) % sizeof(float2) == 0) {
        for_each([&](uint32_t i, uint32_t j, float left, float right) {
            *reinterpret_cast<float2*>(c + i * along_column + j) = make_float2(left, right);
        });
    } else {
        for_each([&](uint32_t i, uint32_t j, float left, float right) {
            float* target = c + i * along_column + j * along_row;
            target[0] = left;
            if (j + 1 < p.n) target[along_row] = right;
        });
    }
}

// --- the kernel ----------------------------------------------------------------------------------

template <class Tile, bool depth_contiguous>
__device__ void fill_stages(const HopperProduct& p, const HopperShared<Tile>& shared) {
    HopperStage<Tile> stage;
    for (uint32_t number = blockIdx.x; number < HopperItem::count<Tile>(p); number += gridDim.x) {
        const HopperItem item = HopperItem::of<Tile>(p, number);
        for (uint32_t step = item.begin; step < item.end; ++step) {
            mbarrier_wait(shared.room + stage.number, stage.parity ^ 1);
            fill<Tile, depth_contiguous>(p, item, step, shared.a(stage.number),
                                         shared.b(stage.number), shared.full + stage.number);
            stage.advance();
        }
    }
}

template <class Tile, bool depth_contiguous>
__device__ void multiply_stages(const HopperProduct& p, const HopperShared<Tile>& shared) {
    constexpr int kColumns = Tile::kColumns;
    const uint32_t lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp * 16;
    const auto release = [&](uint32_t stage) {  // once for each warp
        if (lane == 0) mbarrier_arrive(shared.room + stage);
    };
    HopperStage<Tile> stage;
    for (uint32_t number = blockIdx.x; number < HopperItem::count<Tile>(p); number += gridDim.x) {
        const HopperItem item = HopperItem::of<Tile>(p, number);
        float sums[kColumns / 2] = {};
        // While the products of one step are on their way the next step's A is loaded.
        uint32_t even[4][4], odd[4][4];
        uint32_t before = 0;  // the stage of the last step
        const auto multiply = [&](uint32_t (&a)[4][4], bool first) {
            mbarrier_wait(shared.full + stage.number, stage.parity);
            load_a<depth_contiguous>(a, reinterpret_cast<const float*>(shared.a(stage.number)), row,
                                     lane);
            const uint64_t b = swizzled_matrix(shared_address(shared.b(stage.number)));
            wgmma_fence(a);
#pragma unroll
            for (uint32_t k = 0; k < 4; ++k) wgmma_tf32<kColumns>(sums, a[k], b + 2 * k);
            wgmma_commit();
            wgmma_wait<1>();
            if (!first) release(before);
            before = stage.number;
            stage.advance();
        };
        // Steps in pairs, without a branch between: else the compiler has each product wait.
        const uint32_t pairs = (item.end - item.begin) / 2;
        for (uint32_t pair = 0; pair < pairs; ++pair) {
            multiply(even, pair == 0);
            multiply(odd, false);
        }
        wgmma_wait<0>();
        if (pairs > 0) release(before);
        if ((item.end - item.begin) % 2 == 1) {
            multiply(even, true);
            wgmma_wait<0>();
            release(before);
        }
        store<kColumns>(p, item, sums, item.row + row, lane);
    }
}

template <class Tile, bool depth_contiguous>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    hopper_gemm(const __grid_constant__ HopperProduct p) {
    const HopperShared<Tile> shared;
    if (threadIdx.x == 0) {
        for (uint32_t stage = 0; stage < Tile::kStages; ++stage) {
            mbarrier_init(shared.full + stage, 1);
            mbarrier_init(shared.room + stage, Tile::kConsumers * (kWarpgroup / kWarp));
        }
        fence_proxy_async();
    }
    __syncthreads();
    if (threadIdx.x >= Tile::kConsumers * kWarpgroup) {
        lower_registers<Tile::kFewRegisters>();
        if (threadIdx.x == Tile::kConsumers * kWarpgroup) {
            fill_stages<Tile, depth_contiguous>(p, shared);
        }
    } else {
        raise_registers<Tile::kManyRegisters>();
        multiply_stages<Tile, depth_contiguous>(p, shared);
    }
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_GEMM_CUH_
