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
// Shared memory: kStages stages, each with kTileDepth = 16 depths of A and of B (gemm_layout.cuh).
//   While a stage is multiplied the next ones are on their way: asynchronous copies from global to
//   shared memory that pass no register, 16 bytes where rows allow it (width 4), else 4 bytes
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
//   the exact products in float32 as the tensor cores do.

#ifndef ALEXNET_CUDA_TILE_GEMM_CUH_
#define ALEXNET_CUDA_TILE_GEMM_CUH_

#include <algorithm>
#include <type_traits>

#include "device.cuh"
#include "gemm_copy.cuh"
#include "gemm_fragment_fma.cuh"
#include "gemm_fragment_mma.cuh"
#include "gemm_layout.cuh"
#include "gemm_operands.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

#ifndef ALEXNET_GEMM_STAGES  // benchmarks/gpu_check builds with others
#define ALEXNET_GEMM_STAGES 3
#endif
constexpr int kStages = ALEXNET_GEMM_STAGES;
// Depths of one chain of additions: rounding errors grow as its root (tests/support/arrays.py: 8e-7).
constexpr uint32_t kChain = 2048;

// Rows of C of which only those are computed whose mark is not 0, of `rows_per_mark` each. Others are
// not written, and blocks without a row to compute end at once.
template <class Rows>
struct MarkedRows : Rows {
    const uint32_t* marks;
    Divisor rows_per_mark;

    __device__ bool wants(uint32_t row) const { return marks[rows_per_mark.quotient(row)] != 0; }
    __device__ bool wants_any(uint32_t first, uint32_t end) const {
        const uint32_t last = rows_per_mark.quotient(end - 1);
        for (uint32_t i = rows_per_mark.quotient(first); i <= last; ++i) {
            if (marks[i] != 0) return true;
        }
        return false;
    }
};
template <class Rows>
constexpr bool kIsMarked = false;
template <class Rows>
constexpr bool kIsMarked<MarkedRows<Rows>> = true;

// One product, as the kernels take it.
template <class A, class B, class Rows_>
struct Product {
    using Rows = Rows_;

    A a;
    B b;
    Rows rows;  // where the rows of c begin
    uint32_t m, n, depth;
    float* c;
    const float* bias;  // n for each group; may be null
    bool relu;
    uint32_t splits = 1;
    float* partial = nullptr;  // sums of each split, (splits, groups, m, n); null with one split

    // Depths of a split: whole steps, so that copies of 16 bytes stay aligned.
    __host__ __device__ uint32_t split_depth() const {
        constexpr uint32_t kDepths = kTileDepth<typename A::Element>;
        const uint32_t steps = (depth + kDepths - 1) / kDepths;
        return (steps + splits - 1) / splits * kDepths;
    }
    // The first element of row i of a group in one split.
    __device__ float* row(uint32_t i, uint32_t split, uint32_t group, uint32_t groups) const {
        if (partial) return partial + ((size_t{split} * groups + group) * m + i) * n;
        return c + rows(i) + size_t{group} * n;
    }
    // NaN stays NaN.
    __device__ float finish(float value, uint32_t column, uint32_t group) const {
        if (bias) value += bias[size_t{group} * n + column];
        return relu && value < 0.0f ? 0.0f : value;
    }
};

// The shape of a block's tile of C, and of its warps' parts of it.
template <int rows, int columns, int warp_rows, int warp_columns>
struct Tile {
    static constexpr int kRows = rows, kColumns = columns;
    static constexpr int kWarpRows = warp_rows, kWarpColumns = warp_columns;
    static constexpr int kWarpsAcross = columns / warp_columns;
    static constexpr int kThreads = rows / warp_rows * kWarpsAcross * kWarp;
};

// The types that one kernel is made of: `width` is that of the copies.
template <Precision precision, class T, int a_width, int b_width, class A_, class B_, class Rows_>
struct TileGemm {
    using A = A_;
    using B = B_;
    using P = Product<A, B, Rows_>;
    using Tile = T;
    using LayoutA = TileLayout<precision, typename A::Element, A::kDepthContiguous, T::kRows>;
    using LayoutB = TileLayout<precision, typename B::Element, B::kDepthContiguous, T::kColumns>;
    using CopyA = TileCopy<A, LayoutA, T::kRows, T::kThreads, a_width>;
    using CopyB = TileCopy<B, LayoutB, T::kColumns, T::kThreads, b_width>;
    using Fragment = std::conditional_t<
        precision == Precision::kTf32,
        MmaFragment<T::kWarpRows, T::kWarpColumns, A::kDepthContiguous, B::kDepthContiguous>,
        FmaFragment<A::kDepthContiguous, B::kDepthContiguous>>;
    // Threads that a multiprocessor's 64 Ki registers are for: 128 a thread for 64 sums, 168 where a
    // small block's threads copy more each, 255 for 128 sums, and where threads copy single elements
    // and keep track of 16 places.
    static constexpr int kSums = Fragment::kRows * Fragment::kColumns;
    static constexpr int kThreadsAtOnce = kSums > 64 || a_width == 1 ? 256
                                          : T::kThreads < 128        ? 384
                                                                     : 512;
    static constexpr int kBlocks = kThreadsAtOnce / T::kThreads;
    static constexpr int kStageBytes = LayoutA::kBytes + LayoutB::kBytes;
    static constexpr int kSharedBytes = kStages * kStageBytes;
};

// Write a warp's part of C, from `row` and `column` on: added to what is there unless it is the
// `first` chain, with bias and ReLU if it is the `last`.
template <class Fragment, class P>
__device__ void store(const P& p, const Fragment& fragment, uint32_t row, uint32_t column, int lane,
                      bool first, bool last) {
    constexpr int kRun = Fragment::kRun;
    const bool vectors = kRun > 1 && p.n % 4 == 0 && is_aligned16(p.c);
    const bool finish = last && !p.partial;
#pragma unroll
    for (int i = 0; i < Fragment::kRows; ++i) {
        const uint32_t r = row + Fragment::row(lane, i);
        if (r >= p.m) continue;
        if constexpr (kIsMarked<typename P::Rows>) {
            if (!p.rows.wants(r)) continue;
        }
        float* line = p.row(r, blockIdx.y, blockIdx.z, gridDim.z);
#pragma unroll
        for (int j = 0; j < Fragment::kColumns; j += kRun) {
            const uint32_t c = column + Fragment::column(lane, j);
            Floats<kRun> values;
#pragma unroll
            for (int e = 0; e < kRun; ++e) {
                values.at[e] = fragment.at(i, j + e);
                if (c + e >= p.n) continue;
                if (!first) values.at[e] += line[c + e];
                if (finish) values.at[e] = p.finish(values.at[e], c + e, blockIdx.z);
                if (!vectors) line[c + e] = values.at[e];
            }
            if (vectors && c < p.n) {
                store_floats(line + c, values);
            }
        }
    }
}

template <class Gemm>
__global__ void __launch_bounds__(Gemm::Tile::kThreads, Gemm::kBlocks)
    tile_gemm(const typename Gemm::P p) {
    using Tile = typename Gemm::Tile;
    using LayoutA = typename Gemm::LayoutA;
    using LayoutB = typename Gemm::LayoutB;
    constexpr uint32_t kDepths = kTileDepth<typename Gemm::A::Element>;
    unsigned char* shared = dynamic_shared<unsigned char>();
    const int thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
    const uint32_t tiles_across = (p.n + Tile::kColumns - 1) / Tile::kColumns;
    const uint32_t first_row = blockIdx.x / tiles_across * Tile::kRows;
    const uint32_t first_column = blockIdx.x % tiles_across * Tile::kColumns;
    if constexpr (kIsMarked<typename Gemm::P::Rows>) {
        if (!p.rows.wants_any(first_row, min(p.m, first_row + Tile::kRows))) return;
    }
    const uint32_t begin = blockIdx.y * p.split_depth();
    const uint32_t end = min(p.depth, begin + p.split_depth());

    typename Gemm::A a = p.a;
    typename Gemm::B b = p.b;
    a.select_group(blockIdx.z);
    b.select_group(blockIdx.z);
    typename Gemm::CopyA copy_a(a, first_row, p.m, begin, thread);
    typename Gemm::CopyB copy_b(b, first_column, p.n, begin, thread);
    const uint32_t warp_row = warp / Tile::kWarpsAcross * Tile::kWarpRows;
    const uint32_t warp_column = warp % Tile::kWarpsAcross * Tile::kWarpColumns;
    const int a_offset = warp_offset<LayoutA>(warp_row);
    const int b_offset = LayoutA::kBytes + warp_offset<LayoutB>(warp_column);

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

    uint32_t chain = begin;
    do {
        const uint32_t chain_end = min(end, chain + kChain);
        typename Gemm::Fragment fragment;
        for (uint32_t depth = chain; depth < chain_end; depth += kDepths) {
            cp_async_wait<kStages - 2>();
            __syncthreads();
            start_copies(free);
            fragment.template add_product<LayoutA, LayoutB>(shared + arrived + a_offset,
                                                            shared + arrived + b_offset, lane);
            free = arrived;
            arrived += Gemm::kStageBytes;
            if (arrived == Gemm::kSharedBytes) arrived = 0;
        }
        store(p, fragment, first_row + warp_row, first_column + warp_column, lane, chain == begin,
              chain_end >= end);
        chain += kChain;
    } while (chain < end);
}

// Second pass of a product cut into splits: their sums, added in order. A thread owns `width`
// neighbours of a row, which has `places` of them.
template <class P, int width>
__global__ void sum_splits(const P p, const Divisor places) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= p.m * places.value()) return;
    const uint32_t row = places.quotient(index), group = blockIdx.z;
    const uint32_t column = (index - row * places.value()) * width;
    if constexpr (kIsMarked<typename P::Rows>) {
        if (!p.rows.wants(row)) return;
    }
    const float* partial = p.row(row, 0, group, gridDim.z) + column;
    const size_t to_next = size_t{gridDim.z} * p.m * p.n;
    auto sum = Floats<width>::of(0);
#pragma unroll 4
    for (uint32_t s = 0; s < p.splits; ++s, partial += to_next) {
        const auto part = load_floats<width>(partial);
#pragma unroll
        for (int e = 0; e < width; ++e) sum.at[e] += part.at[e];
    }
#pragma unroll
    for (int e = 0; e < width; ++e) sum.at[e] = p.finish(sum.at[e], column + e, group);
    float* target = p.c + p.rows(row) + size_t{group} * p.n + column;
    store_floats(target, sum);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_TILE_GEMM_CUH_
