// The tile product of Hopper: C = act(bias + A · B) with wgmma, as tile_gemm.cuh computes it with mma,
// but copied by the tensor copy engine: of float in tf32, of bfloat16 and float16 as they are.
//
//   C[i,j] = act(bias + sum over k of A[i,k] · B[k,j])         (m, n) = (m, depth) · (depth, n)
//
// float: wgmma reads tf32 from shared memory in rows of depths alone, and cuts off what is not
//   rounded. So A, from memory as it is, goes through registers, where it is rounded, and either of
//   its indices may be the one of neighbours; B has been rounded and put into rows of depths before
//   (hopper_launch.cuh).
// 16 bits: wgmma reads both operands from shared memory, with neighbours along either index, so both
//   come from memory as they are.
// Blocks: one a multiprocessor, persistent over items: tiles of kRows × kColumns, times splits of
//   the depth. Of the last warpgroup one thread of each warp has the copy engine fill stages of a
//   step, 32 depths of float or 64 of 16 bits, as long as there is room; the others multiply, 64 rows
//   each, and store what they have added.
// Clusters: two blocks with tiles below each other need the same columns of B. Each has the copy
//   engine bring half of them, to both, once the consumers of both have given the stage back; so both
//   walk over the same number of steps, and neither ends before the other is done with it.
// Shared memory: kStages stages, each with rows of 128 bytes, whose 16-byte chunks are permuted
//   within eight rows (swizzle of 128 bytes): a step's depths a row or, where depths are not
//   neighbours, 32 or 64 rows of A or columns of B a row, in boxes of a step's depths. No bank
//   conflicts.
// Cost of a step: 2 · kStepDepth · kRows · kColumns FLOP; 128 · (kRows + kColumns) bytes from L2, of a
//   block of two 128 · (kRows + kColumns / 2), into shared memory, from which wgmma reads B once for
//   each 64 rows, and A is read once. Cycles, of tensor cores and shared memory, of either kind of
//   element: 1024 and 1024 (128 × 256), 1152 and 1152 (192 × 192), 512 and 640 (128 × 128): wide tiles.
// Numerics: of float both operands are rounded to 10 bits of mantissa as tile_gemm.cuh does it. Exact
//   products are added in float32 as the tensor cores do, in order of depth; splits are added in order
//   by another kernel; a result of 16 bits is rounded once. What a tile is made of depends on the
//   shape alone.

#ifndef ALEXNET_CUDA_HOPPER_GEMM_CUH_
#define ALEXNET_CUDA_HOPPER_GEMM_CUH_

#include "hopper_operands.cuh"

namespace alexnet::cuda {

constexpr uint32_t kCopyWarps = kWarpgroup / kWarp;

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
    uint64_t *full, *room;  // mbarriers: the stage has arrived; the cluster has multiplied it

    __device__ HopperShared() {
        unsigned char* shared = dynamic_shared<unsigned char>();
        stages = shared + (0u - shared_address(shared)) % kPatternBytes;
        full = reinterpret_cast<uint64_t*>(stages + Tile::kStages * Tile::kStageBytes);
        room = full + Tile::kStages;
    }
    __device__ unsigned char* a(uint32_t stage) const { return stages + stage * Tile::kStageBytes; }
    __device__ unsigned char* b(uint32_t stage) const { return a(stage) + Tile::kBytesA; }
};

// --- out to memory -------------------------------------------------------------------------------

// Bias and ReLU, or the gradient of one, and out to memory: 64 rows of a warpgroup, of which a thread
// has two, in them two neighbours in each group of eight columns. Sums of splits go out as they are.
// `row` is the first of a warp's 16 rows, which are `row_step` rows of C apart.
template <uint32_t columns, class T>
__device__ void store(const HopperProduct<T>& p, const HopperItem& item, float (&sums)[columns / 2],
                      uint32_t row, uint32_t lane, uint32_t row_step = 1) {
    constexpr uint32_t kGroups = columns / 8;
    const uint32_t first_column = item.column + 2 * (lane % 4);
    const uint32_t rows[2] = {row + lane / 4 * row_step, row + (lane / 4 + 8) * row_step};
    const auto for_each = [&](auto use) {  // use(row of C, column, sums)
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            uint32_t i = rows[half];
            if (i >= item.row_end || !p.find_row(i)) continue;
#pragma unroll
            for (uint32_t group = 0; group < kGroups; ++group) {
                const uint32_t j = first_column + 8 * group;
                if (j < p.n) use(i, j, sums[4 * group + 2 * half], sums[4 * group + 2 * half + 1]);
            }
        }
    };
    const auto in_pairs = [&](const auto* array, size_t stride) {
        return !p.transposed && stride % 2 == 0 && p.n % 2 == 0 &&
               reinterpret_cast<uintptr_t>(array) % (2 * sizeof *array) == 0;
    };
    const auto write = [&](auto* c, size_t stride) {
        const size_t along_row = p.transposed ? stride : 1,
                     along_column = p.transposed ? 1 : stride;
        using Element = std::remove_pointer_t<decltype(c)>;
        if (in_pairs(c, stride)) {
            for_each([&](uint32_t i, uint32_t j, float left, float right) {
                store_floats<2>(c + i * along_column + j, Floats<2>{{left, right}});
            });
        } else {
            for_each([&](uint32_t i, uint32_t j, float left, float right) {
                Element* target = c + i * along_column + j * along_row;
                target[0] = from_float<Element>(left);
                if (j + 1 < p.n) target[along_row] = from_float<Element>(right);
            });
        }
    };
    if (p.splits > 1) return write(p.sums + item.split * p.split_size, p.sum_stride);
    if (p.gradient) return write(p.gradient, p.stride);
    if (p.bias) {
        for_each([&](uint32_t i, uint32_t j, float& left, float& right) {
            left += p.bias[p.transposed ? i : j];
            right += p.bias[p.transposed ? i : min(j + 1, p.n - 1)];
        });
    }
    if (p.relu) {  // NaN stays NaN
#pragma unroll
        for (uint32_t i = 0; i < columns / 2; ++i) sums[i] = sums[i] < 0.0f ? 0.0f : sums[i];
    }
    if (p.relu_output) {  // what is not positive, NaN too, let nothing through
        const size_t along_row = p.transposed ? p.stride : 1,
                     along_column = p.transposed ? 1 : p.stride;
        const bool pairs = in_pairs(p.relu_output, p.stride);
        for_each([&](uint32_t i, uint32_t j, float& left, float& right) {
            const T* place = p.relu_output + i * along_column + j * along_row;
            Floats<2> y;
            if (pairs) {
                y = load_floats<2>(place);
            } else {
                y = {{to_float(place[0]), to_float(place[j + 1 < p.n ? along_row : 0])}};
            }
            if (!(y.at[0] > 0.0f)) left = 0.0f;
            if (!(y.at[1] > 0.0f)) right = 0.0f;
        });
    }
    write(p.c, p.stride);
}

// --- the kernel ----------------------------------------------------------------------------------

// By one thread of each warp of the last warpgroup, which take steps in turn: starting copies takes a
// thread longer than the tensor cores take for a step of 16 bits. Each waits for room at the parity of
// its own turn. As it has filled a stage kCopyWarps steps before, all that was in the stages one circle
// before that one has been given back, and so the parity tells the turns apart.
template <class T, class Tile, bool a_along_depth, bool b_along_depth>
__device__ void fill_stages(const HopperProduct<T>& p, const HopperShared<Tile>& shared) {
    static_assert(Tile::kStages >= kCopyWarps);
    const uint32_t warp = threadIdx.x / kWarp % kCopyWarps;
    const uint32_t rank = cluster_rank(), clusters = gridDim.x / p.blocks;
    HopperStage<Tile> stage;
    uint32_t turn = 0;
    for (uint32_t number = blockIdx.x / p.blocks; number < HopperItem::count<Tile>(p);
         number += clusters) {
        const HopperItem item = HopperItem::of<Tile>(p, number, rank);
        HopperCopyA<T, Tile, a_along_depth> a(p, item.row, item.begin);
        HopperCopyB<T, Tile, b_along_depth> b(p, rank, item.column, item.begin);
        for (uint32_t step = item.begin; step < item.end; ++step) {
            if (turn++ % kCopyWarps == warp) {
                uint64_t* full = shared.full + stage.number;
                mbarrier_wait(shared.room + stage.number, stage.parity ^ 1);
                mbarrier_arrive_expect(full, Tile::kStageBytes);
                a.copy(shared.a(stage.number), full);
                b.copy(shared.b(stage.number), full);
            }
            a.advance();
            b.advance();
            stage.advance();
        }
    }
}

// An item's steps: `multiply(stage, parity)` starts a step's products, and once the step before it is
// done its stage is given back.
template <class T, class Tile, bool a_along_depth, bool b_along_depth>
__device__ void multiply_stages(const HopperProduct<T>& p, const HopperShared<Tile>& shared) {
    constexpr int kColumns = Tile::kColumns;
    const uint32_t lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp * 16;
    const uint32_t rank = cluster_rank(), clusters = gridDim.x / p.blocks;
    HopperStage<Tile> stage;
    for (uint32_t number = blockIdx.x / p.blocks; number < HopperItem::count<Tile>(p);
         number += clusters) {
        const HopperItem item = HopperItem::of<Tile>(p, number, rank);
        float sums[kColumns / 2] = {};
        uint32_t before = 0;        // the stage of the last step
        const auto release = [&] {  // once for each warp and block
            if (lane < p.blocks) mbarrier_arrive(shared.room + before, lane);
        };
        const auto finish = [&](bool first) {
            wgmma_commit();
            wgmma_wait<1>();
            if (!first) release();
            before = stage.number;
            stage.advance();
        };
        const uint32_t steps = item.end - item.begin;
        if constexpr (std::is_same_v<T, float>) {
            // While the products of one step are on their way the next step's A is loaded.
            uint32_t even[4][4], odd[4][4];
            const auto multiply = [&](uint32_t (&a)[4][4], bool first) {
                mbarrier_wait(shared.full + stage.number, stage.parity);
                load_a<a_along_depth>(a, reinterpret_cast<const float*>(shared.a(stage.number)),
                                      row, lane);
                const uint64_t b = swizzled_matrix(shared_address(shared.b(stage.number)));
                wgmma_fence(a);
#pragma unroll
                for (uint32_t k = 0; k < 4; ++k) wgmma_tf32<kColumns>(sums, a[k], b + 2 * k);
                finish(first);
            };
            // Steps in pairs, without a branch between: else the compiler has each product wait.
            for (uint32_t pair = 0; pair < steps / 2; ++pair) {
                multiply(even, pair == 0);
                multiply(odd, false);
            }
            wgmma_wait<0>();
            if (steps > 1) release();
            if (steps % 2 == 1) {
                multiply(even, true);
                wgmma_wait<0>();
                release();
            }
        } else {
            using A = HopperMatrix<T, a_along_depth>;
            using B = HopperMatrix<T, b_along_depth>;
            // 64 rows of depths, or a box.
            const uint32_t first = threadIdx.x / kWarpgroup * 64 * kRowBytes;
            for (uint32_t step = 0; step < steps; ++step) {
                mbarrier_wait(shared.full + stage.number, stage.parity);
                const uint64_t a = A::at(shared_address(shared.a(stage.number)) + first);
                const uint64_t b = B::at(shared_address(shared.b(stage.number)));
                wgmma_fence();
#pragma unroll
                for (uint32_t k = 0; k < 4; ++k) {
                    wgmma_16<T, kColumns, a_along_depth, b_along_depth>(sums, a + k * A::kNext,
                                                                        b + k * B::kNext);
                }
                finish(step == 0);
            }
            wgmma_wait<0>();
            release();
        }
        store<kColumns>(p, item, sums, item.row + row, lane);
    }
}

template <class T, class Tile, bool a_along_depth, bool b_along_depth>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    hopper_gemm(const __grid_constant__ HopperProduct<T> p) {
    const HopperShared<Tile> shared;
    if (threadIdx.x == 0) {
        for (uint32_t stage = 0; stage < Tile::kStages; ++stage) {
            mbarrier_init(shared.full + stage, 1);
            mbarrier_init(shared.room + stage, p.blocks * Tile::kConsumers * (kWarpgroup / kWarp));
        }
        fence_proxy_async();
        fence_mbarrier_init();
    }
    cluster_barrier();  // nobody arrives at, or copies to, what is not initialised
    if (threadIdx.x >= Tile::kConsumers * kWarpgroup) {
        lower_registers<Tile::kFewRegisters>();
        if (threadIdx.x % kWarp == 0) {
            fill_stages<T, Tile, a_along_depth, b_along_depth>(p, shared);
        }
    } else {
        raise_registers<Tile::kManyRegisters>();
        multiply_stages<T, Tile, a_along_depth, b_along_depth>(p, shared);
    }
    cluster_barrier();  // shared memory stays for as long as the other block arrives there
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_GEMM_CUH_
