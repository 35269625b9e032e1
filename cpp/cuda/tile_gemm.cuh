// The tile product that every dense layer and every convolution runs on, in all directions:
//
//   C[i,j] = act(bias[j] + sum over k of A[i,k] · B[k,j])      (m, n) = (m, depth) · (depth, n)
//
// A, B and C are wherever gemm_operands.cuh says; C's rows are contiguous. With groups, blockIdx.z
// is the group, and its n columns of C follow those of the group before.
//
// Blocks: each owns a tile of C, kRows × kColumns, and of the depths one split (blockIdx.y). Warps
//   own 32 × 64 of it, threads 64 elements, in registers (gemm_fragments.cuh).
// Shared memory: kStages stages, each with kTileDepth = 16 depths of A and of B. While a stage is
//   multiplied the next ones are on their way: asynchronous copies from global to shared memory
//   that pass no register, 16 bytes where rows allow it (width 4), else 4 bytes (width 1). What
//   lies outside of the operand is filled with zeros. One barrier a step: behind it the stage that
//   arrived is visible to all, and the one that was multiplied last is free to be filled.
// Cost of a block and step: 2 · 16 · kRows · kColumns FLOP for 64 · (kRows + kColumns) bytes,
//   mostly from L2: 32 FLOP a byte with 128 × 128, 21 with 128 × 64, 13 with 32 × 128 (for few
//   rows, where B comes through memory once). A thread reads 16 bytes of shared memory for 16 FMAs
//   in float32; a warp of tf32 reads 3 KiB for 16 mma. Bound: FMA units; tensor cores and shared
//   memory about evenly.
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
#include "gemm_fragments.cuh"
#include "gemm_operands.cuh"

namespace alexnet::cuda {

constexpr int kStages = 3;
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
        const uint32_t steps = (depth + kTileDepth - 1) / kTileDepth;
        return (steps + splits - 1) / splits * kTileDepth;
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

template <int rows, int columns>
struct Tile {
    static constexpr int kRows = rows, kColumns = columns;
    static constexpr int kWarpsAcross = columns / kWarpColumns;
    static constexpr int kThreads = rows / kWarpRows * kWarpsAcross * 32;
};

// Whether an operand has indices that lie apart in memory although others are contiguous
// (conv2d_runs.cuh): it has `single` for them, and is_apart for four of them from a multiple on.
template <class Operand, class = void>
constexpr bool kHasSingles = false;
template <class Operand>
constexpr bool kHasSingles<Operand, std::enable_if_t<Operand::kHasSingles>> = true;

// A thread's share of copying one tile, `rows` × kTileDepth, of an operand to shared memory. Its
// chunks, `width` floats along the contiguous index, are all at the same place of that index: what
// the operand works out there is worked out once, for rows once in all. Rows past the last one are
// copies of it: they only reach elements of C that are not stored.
template <class Operand, Precision precision, int rows, int threads, int width>
class TileCopy {
    static constexpr bool kDepthContiguous = Operand::kDepthContiguous;
    static constexpr int kChunks = (kDepthContiguous ? kTileDepth : rows) / width;  // of a line
    static constexpr int kLines = kDepthContiguous ? rows : kTileDepth;
    static constexpr int kLinesAtOnce = threads / kChunks;
    static constexpr int kCopies = kLines / kLinesAtOnce;
    static constexpr int kRowsOwned = kDepthContiguous ? kCopies : 1;
    static_assert(threads % kChunks == 0 && kLines % kLinesAtOnce == 0);

  public:
    static constexpr int kStride = kTileStride<precision, kDepthContiguous, rows>;
    static constexpr int kFloats = kLines * kStride;
    static __device__ int offset(int row) { return kDepthContiguous ? row * kStride : row; }

    __device__ TileCopy(const Operand& operand, uint32_t first_row, uint32_t row_count, int thread)
        : operand_(operand),
          line_(line_of(thread / kChunks)),
          place_(thread % kChunks * width),
          first_row_(first_row),
          last_row_(row_count - 1) {
#pragma unroll
        for (int i = 0; i < kRowsOwned; ++i) {
            const int row = kDepthContiguous ? line_ + i * kLinesAtOnce : place_;
            rows_[i] = operand.row(min(first_row + row, row_count - width_along_rows()));
        }
    }

    // Start the copies of the depths [first, first + kTileDepth), of which those from `end` on are
    // zero, to `tile`.
    __device__ void start(float* tile, uint32_t first, uint32_t end) const {
        float* target = tile + line_ * kStride + place_;
        if constexpr (kHasSingles<Operand>) {
            if (operand_.is_apart((kDepthContiguous ? first : first_row_) + place_)) {
                return start_singles(target, first, end);
            }
        }
        if constexpr (kDepthContiguous) {
            const uint32_t k = first + place_;
            const auto depth = operand_.depth(k);
#pragma unroll
            for (int i = 0; i < kCopies; ++i) {
                copy(target + i * kLinesAtOnce * kStride, rows_[i], depth, k < end);
            }
        } else {
#pragma unroll
            for (int i = 0; i < kCopies; ++i) {
                const uint32_t k = first + line_ + i * kLinesAtOnce;
                copy(target + i * kLinesAtOnce * kStride, rows_[0], operand_.depth(k), k < end);
            }
        }
    }

  private:
    // Shared memory takes the 64 bytes of two rows at once. Neighbouring rows, 24 or 20 words apart,
    // would want the same banks, rows 48 or 80 apart, 16 mod 32, do not: every second row changes
    // places with the one 2 or 4 further on.
    static __device__ int line_of(int line) {
        constexpr int kApart = precision == Precision::kTf32 ? 2 : 4;
        static_assert(!kDepthContiguous ||
                      (kLinesAtOnce % (2 * kApart) == 0 && kApart * kStride % 32 == 16));
        if (!kDepthContiguous) return line;
        return (line & ~(1 | kApart)) | (line & 1) * kApart | (line & kApart) / kApart;
    }
    static __device__ constexpr uint32_t width_along_rows() { return kDepthContiguous ? 1 : width; }

    // `start` for four indices that lie apart.
    __device__ void start_singles(float* target, uint32_t first, uint32_t end) const {
#pragma unroll
        for (int e = 0; e < width; ++e) {
#pragma unroll
            for (int i = 0; i < kCopies; ++i) {
                float* place = target + i * kLinesAtOnce * kStride + e;
                if constexpr (kDepthContiguous) {
                    const uint32_t k = first + place_ + e;
                    copy<1>(place, rows_[i], operand_.single(k), k < end);
                } else {
                    const uint32_t row = min(first_row_ + place_ + e, last_row_);
                    const uint32_t k = first + line_ + i * kLinesAtOnce;
                    copy<1>(place, operand_.single(row), operand_.depth(k), k < end);
                }
            }
        }
    }

    template <int floats = width>
    __device__ void copy(float* target, const typename Operand::Row& row,
                         const typename Operand::Depth& depth, bool exists) const {
        const float* source = exists ? operand_.at(row, depth) : nullptr;
        const float* readable = source ? source : operand_.data;
        if constexpr (floats == 4) {
            cp_async16(target, readable, source != nullptr);
        } else {
            cp_async4(target, readable, source != nullptr);
        }
    }

    const Operand& operand_;
    int line_, place_;
    uint32_t first_row_, last_row_;
    typename Operand::Row rows_[kRowsOwned];
};

// The types that one kernel is made of: `width` is that of the copies.
template <Precision precision, class T, int a_width, int b_width, class A_, class B_, class Rows_>
struct TileGemm {
    using A = A_;
    using B = B_;
    using P = Product<A, B, Rows_>;
    using Tile = T;
    using CopyA = TileCopy<A, precision, T::kRows, T::kThreads, a_width>;
    using CopyB = TileCopy<B, precision, T::kColumns, T::kThreads, b_width>;
    using Fragment = std::conditional_t<precision == Precision::kTf32,
                                        Tf32Fragment<A::kDepthContiguous, B::kDepthContiguous>,
                                        Float32Fragment<A::kDepthContiguous, B::kDepthContiguous>>;
    // Registers for 512 threads on a multiprocessor, 128 each. Threads that copy single floats, or
    // of the small tile all of B, keep track of more places: those for 384, 168 each.
    static constexpr int kBlocks = (a_width == 1 || T::kRows == 32 ? 384 : 512) / T::kThreads;
    static constexpr int kStageFloats = CopyA::kFloats + CopyB::kFloats;
    static constexpr int kSharedFloats = std::max(kStages * kStageFloats, T::kRows* T::kColumns);
};

// Write a warp's part of C, from `row` and `column` on: added to what is there unless it is the
// `first` chain, with bias and ReLU if it is the `last`. It goes through `tile`, the warp's own
// 32 × 64 floats of shared memory, so that lanes then stand as 2 × 16 and write rows of 256 bytes.
template <class Fragment, class P>
__device__ void store(const P& p, Fragment& fragment, float* tile, uint32_t row, uint32_t column,
                      int lane, bool first, bool last) {
#pragma unroll
    for (int i = 0; i < Fragment::kRows; ++i) {
#pragma unroll
        for (int j = 0; j < Fragment::kColumns; ++j) {
            tile[Fragment::row(lane, i) * kWarpColumns + Fragment::column(lane, j)] =
                fragment.at(i, j);
        }
    }
    __syncwarp();
    const int place = lane % 16 * 4;
    const uint32_t c = column + place;
    if (c >= p.n) return;
    const int count = min(4u, p.n - c);
    const bool vectors = p.n % 4 == 0 && is_aligned16(p.c);
#pragma unroll 1
    for (uint32_t r = lane / 16; r < kWarpRows && row + r < p.m; r += 2) {
        if constexpr (kIsMarked<typename P::Rows>) {
            if (!p.rows.wants(row + r)) continue;
        }
        const float4 sums = *reinterpret_cast<const float4*>(tile + r * kWarpColumns + place);
        float values[4] = {sums.x, sums.y, sums.z, sums.w};
        float* target = p.row(row + r, blockIdx.y, blockIdx.z, gridDim.z) + c;
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            if (e >= count) break;
            if (!first) values[e] += target[e];
            if (last && !p.partial) values[e] = p.finish(values[e], c + e, blockIdx.z);
            if (!vectors) target[e] = values[e];
        }
        if (vectors) {
            *reinterpret_cast<float4*>(target) =
                make_float4(values[0], values[1], values[2], values[3]);
        }
    }
}

template <class Gemm>
__global__ void __launch_bounds__(Gemm::Tile::kThreads, Gemm::kBlocks)
    tile_gemm(const typename Gemm::P p) {
    using Tile = typename Gemm::Tile;
    using CopyA = typename Gemm::CopyA;
    using CopyB = typename Gemm::CopyB;
    float* shared = dynamic_shared<float>();
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
    const CopyA copy_a(a, first_row, p.m, thread);
    const CopyB copy_b(b, first_column, p.n, thread);
    const uint32_t warp_row = warp / Tile::kWarpsAcross * kWarpRows;
    const uint32_t warp_column = warp % Tile::kWarpsAcross * kWarpColumns;
    const int a_offset = CopyA::offset(warp_row);
    const int b_offset = CopyA::kFloats + CopyB::offset(warp_column);

    uint32_t chain = begin;
    do {
        const uint32_t chain_end = min(end, chain + kChain);
        const auto start_copies = [&](uint32_t step) {
            const uint32_t depth = chain + step * kTileDepth;
            float* stage = shared + step % kStages * Gemm::kStageFloats;
            if (depth < chain_end) {
                copy_a.start(stage, depth, chain_end);
                copy_b.start(stage + CopyA::kFloats, depth, chain_end);
            }
            cp_async_commit();  // empty at the end, so that the count of groups stays right
        };
        typename Gemm::Fragment fragment;
        for (int step = 0; step < kStages - 1; ++step) start_copies(step);
        for (uint32_t step = 0; chain + step * kTileDepth < chain_end; ++step) {
            cp_async_wait<kStages - 2>();
            __syncthreads();
            start_copies(step + kStages - 1);
            const float* stage = shared + step % kStages * Gemm::kStageFloats;
            fragment.template add_product<CopyA::kStride, CopyB::kStride>(stage + a_offset,
                                                                          stage + b_offset, lane);
        }
        __syncthreads();  // the stages have been read: their memory serves the way out
        store(p, fragment, shared + warp * kWarpRows * kWarpColumns, first_row + warp_row,
              first_column + warp_column, lane, chain == begin, chain_end >= end);
        __syncthreads();
        chain += kChain;
    } while (chain < end);
}

// Second pass of a product cut into splits: their sums, added in order.
template <class P>
__global__ void sum_splits(const P p, const Divisor columns) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= p.m * p.n) return;
    const uint32_t row = columns.quotient(index), column = index - row * p.n, group = blockIdx.z;
    if constexpr (kIsMarked<typename P::Rows>) {
        if (!p.rows.wants(row)) return;
    }
    float sum = 0.0f;
#pragma unroll 4
    for (uint32_t s = 0; s < p.splits; ++s) sum += p.row(row, s, group, gridDim.z)[column];
    p.c[p.rows(row) + size_t{group} * p.n + column] = p.finish(sum, column, group);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_TILE_GEMM_CUH_
