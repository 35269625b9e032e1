// The tile product that every dense layer and every convolution runs on, in all directions:
//
//   C[i,j] = act(bias[j] + sum over k of A[i,k] · B[k,j])      (m, n) = (m, depth) · (depth, n)
//
// A, B and C are wherever gemm_operands.cuh says; C's rows are contiguous. With groups, blockIdx.z
// is the group, and its n columns of C follow those of the group before.
//
// Blocks: each owns a tile of C, kRows × kColumns, and of the depths one split (blockIdx.y). Warps
//   own kWarpRows × kWarpColumns of it, in registers: 64 × 64 on the tensor cores, 128 sums a
//   thread (gemm_fragment_mma.cuh), 32 × 64 with FMAs, 64 a thread (gemm_fragment_fma.cuh).
// Shared memory: kStages stages, each with 64 bytes of depths of A and of B, 16 of
//   float32 or 32 of a 16-bit type (gemm_layout.cuh).
//   While a stage is multiplied the next ones are on their way: asynchronous copies from global to
//   shared memory that pass no register, 16 bytes where rows allow it, else single elements
//   (width 1). What lies outside of the operand is filled with zeros. One barrier a step: behind it
//   the stage that arrived is visible to all, and the one that was multiplied last is free to be
//   filled. Three stages of 128 × 128 are 48 KiB, two blocks also where a multiprocessor has 100.
// Cost of a block and step: 2 · 16 · kRows · kColumns FLOP for 64 · (kRows + kColumns) bytes,
//   mostly from L2: 32 FLOP a byte with 128 × 128, 21 with 128 × 64, 13 with 32 × 128 (for few
//   rows, where B comes through memory once). A warp of tf32 has 64 mma a step, and for each of them
//   2 instructions to round operands, a quarter to read them, and 1 to 1.5 for copies. Bound: FMA
//   units; tensor cores.
// Numerics: products are added to a sum of at most kChain terms in order of depth; such sums, and
//   then those of the splits (sum_splits), are added in order. The split depends on the shape
//   alone, and no two threads add to one element: the same input gives the same bits. float32 is
//   FMA throughout; tf32 rounds operands to 10 bits of mantissa, at most 2^-11 off each, and adds
//   the exact products in float32 as the tensor cores do. Operands of 16 bits are multiplied as they
//   are, sums are float32, and C is rounded once, to the nearest.

#ifndef ALEXNET_CUDA_TILE_GEMM_CUH_
#define ALEXNET_CUDA_TILE_GEMM_CUH_

#include <type_traits>

#include "device.cuh"
#include "gemm_column_sums.cuh"
#include "gemm_copy.cuh"
#include "gemm_fragment_fma.cuh"
#include "gemm_fragment_mma.cuh"
#include "gemm_layout.cuh"
#include "gemm_operands.cuh"
#include "gemm_product.cuh"

namespace alexnet::cuda {

#ifndef ALEXNET_GEMM_STAGES  // benchmarks/gpu_check builds with others
#define ALEXNET_GEMM_STAGES 3
#endif
constexpr int kStages = ALEXNET_GEMM_STAGES;

// The shape of a block's tile of C, and of its warps' parts of it.
template <int rows, int columns, int warp_rows, int warp_columns>
struct Tile {
    static constexpr int kRows = rows, kColumns = columns;
    static constexpr int kWarpRows = warp_rows, kWarpColumns = warp_columns;
    static constexpr int kWarpsAcross = columns / warp_columns;
    static constexpr int kThreads = rows / warp_rows * kWarpsAcross * kWarp;
};

// The types that one kernel is made of: `width` is that of the copies.
template <bool tensor_cores, class T, int a_width, int b_width, class A_, class B_, class Rows_>
struct TileGemm {
    using A = A_;
    using B = B_;
    using Element = typename A::Element;
    using P = Product<A, B, Rows_>;
    using Tile = T;
    using LayoutA = TileLayout<tensor_cores, Element, A::kDepthContiguous, T::kRows>;
    using LayoutB = TileLayout<tensor_cores, Element, B::kDepthContiguous, T::kColumns>;
    using CopyA = typename CopyOf<A, LayoutA, T::kRows, T::kThreads, a_width>::Type;
    using CopyB = typename CopyOf<B, LayoutB, T::kColumns, T::kThreads, b_width>::Type;
    using Fragment = std::conditional_t<tensor_cores,
                                        MmaFragment<Element, T::kWarpRows, T::kWarpColumns,
                                                    A::kDepthContiguous, B::kDepthContiguous>,
                                        FmaFragment<A::kDepthContiguous, B::kDepthContiguous>>;
    using Sums = ColumnSums<Element, LayoutB, T::kColumns, T::kThreads>;
    // Threads that a multiprocessor's 64 Ki registers are for: 168 each, or 255 for 128 sums, for
    // FMAs whose operands both come row by row, and where threads copy single elements and keep track
    // of 16 places.
    static constexpr int kSums = Fragment::kRows * Fragment::kColumns;
    static constexpr bool kManyRegisters =
        kSums > 64 || a_width == 1 || (!tensor_cores && A::kDepthContiguous && B::kDepthContiguous);
    static constexpr int kThreadsAtOnce = kManyRegisters ? 256 : 384;
    static constexpr int kBlocks = kThreadsAtOnce / T::kThreads;
    static constexpr int kStageBytes = LayoutA::kBytes + LayoutB::kBytes;
    static constexpr int kSharedBytes = kStages * kStageBytes;
};

// A block's tile of C. `sums` adds up B's columns, or does nothing.
template <class Gemm, class Sums>
__device__ __forceinline__ void multiply_tile(const typename Gemm::P& p, uint32_t first_row,
                                              uint32_t first_column, Sums& sums) {
    using Tile = typename Gemm::Tile;
    using LayoutA = typename Gemm::LayoutA;
    using LayoutB = typename Gemm::LayoutB;
    constexpr uint32_t kDepths = kTileDepth<typename Gemm::Element>;
    unsigned char* shared = dynamic_shared<unsigned char>();
    const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
    const uint32_t begin = blockIdx.y * p.split_depth();
    const uint32_t end = min(p.depth, begin + p.split_depth());

    typename Gemm::A a = p.a;
    typename Gemm::B b = p.b;
    a.select_group(blockIdx.z);
    b.select_group(blockIdx.z);
    typename Gemm::CopyA copy_a(a, first_row, p.m, begin, thread);
    typename Gemm::CopyB copy_b(b, first_column, p.n, begin, thread);
    const int warp_row = warp / Tile::kWarpsAcross * Tile::kWarpRows;
    const int warp_column = warp % Tile::kWarpsAcross * Tile::kWarpColumns;

    uint32_t copied = begin;  // depths before it are on their way
    const auto start_copies = [&](int stage) {
        if (copied < end) {
            copy_a.start(shared + stage, end);
            copy_b.start(shared + stage + LayoutA::kBytes, end);
        }
        cp_async_commit();  // empty at the end, so that the count of groups stays right
        copied += kDepths;
    };
    // Places of two stages: the one to be multiplied, and the one before, which is free.
    int arrived = 0, free = (kStages - 1) * Gemm::kStageBytes;
    for (int stage = 0; stage < kStages - 1; ++stage) {
        start_copies(stage * Gemm::kStageBytes);
    }

    // Of 16 bits there is one chain. A compiler that does not know this makes code that reads C back
    // for each of a thread's sums, and spills registers for it.
    constexpr bool kIsOnly = kChain<typename Gemm::Element> == kAllDepths;
    uint32_t chain = begin;
    do {
        const uint32_t chain_end = kIsOnly ? end : min(end, chain + kChain<typename Gemm::Element>);
        typename Gemm::Fragment fragment;
        for (uint32_t depth = chain; depth < chain_end; depth += kDepths) {
            cp_async_wait<kStages - 2>();
            __syncthreads();
            start_copies(free);
            const unsigned char* stage = shared + arrived;
            sums.add(stage + LayoutA::kBytes, thread);
            fragment.template add_product<LayoutA, LayoutB>(stage, stage + LayoutA::kBytes,
                                                            warp_row, warp_column, lane);
            free = arrived;
            arrived += Gemm::kStageBytes;
            if (arrived == Gemm::kSharedBytes) arrived = 0;
        }
        uint32_t row = first_row + warp_row;
        work_out_here(row);
        store(p, fragment, row, first_column + warp_column, lane, kIsOnly || chain == begin,
              kIsOnly || chain_end >= end);
        chain += kChain<typename Gemm::Element>;
    } while (!kIsOnly && chain < end);
}

template <class Gemm>
__global__ void __launch_bounds__(Gemm::Tile::kThreads, Gemm::kBlocks)
    tile_gemm(const typename Gemm::P p) {
    using Tile = typename Gemm::Tile;
    const uint32_t tiles_across = (p.n + Tile::kColumns - 1) / Tile::kColumns;
    const uint32_t first_row = blockIdx.x / tiles_across * Tile::kRows;
    const uint32_t first_column = blockIdx.x % tiles_across * Tile::kColumns;
    if constexpr (kIsMarked<typename Gemm::P::Rows>) {
        if (!p.rows.wants_any(first_row, min(p.m, first_row + Tile::kRows))) return;
    }
    // Each way has a loop of its own: blocks that add up no columns do not pay for it.
    if constexpr (kSumsColumns<typename Gemm::P::Rows>) {
        if (p.column_sums && first_row == 0) {
            typename Gemm::Sums sums;
            multiply_tile<Gemm>(p, 0, first_column, sums);
            float* line = p.partial ? p.partial_row(p.m, blockIdx.y, blockIdx.z, gridDim.z)
                                    : p.column_sums + size_t{blockIdx.z} * p.n;
            sums.store(line, first_column, p.n, threadIdx.x);
            return;
        }
    }
    NoColumnSums none;
    multiply_tile<Gemm>(p, first_row, first_column, none);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_TILE_GEMM_CUH_
