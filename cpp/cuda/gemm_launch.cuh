// Which tile and how many splits a product gets, and its launches.
//
// Tiles: 128 × 128 on the tensor cores, 128 × 64 by FMAs, and for convolutions where that leaves
//   fewer columns empty; for dense layers 32 × 128 up to 64 rows, where the weights come through
//   memory once. Operands that can't be copied 16 bytes at a time (runs of neighbours that are no
//   multiple of 16 bytes, or data that are not aligned) take 128 × 64, and FMAs unless it is A of a
//   convolution alone: images of three channels whose windows aren't read as runs
//   (conv2d_runs.cuh). Of 16 bits they take 64 × 64 and the tensor cores:
//   a thread of the larger tile would have to keep track of 32 rows.
// Splits: the fewest of at least 256 depths with which an H100's 132 multiprocessors all have sums of
//   128 × 128 elements or more, a block of 128 threads on the tensor cores or two by FMAs, and at most
//   a fifth of the last round of blocks is empty. No splits at all, which saves their sums, may leave
//   a fifth of the only round empty. Where there is no such number, as many as the depth allows, up to
//   96. For 86 tiles of 128 × 128, conv4 of tf-tutorial at batch 32: 3; for the 129 of conv3: 1. Both
//   rules look at the shape alone, so that every device has the same bits.

#ifndef ALEXNET_CUDA_GEMM_LAUNCH_CUH_
#define ALEXNET_CUDA_GEMM_LAUNCH_CUH_

#include <algorithm>
#include <stdexcept>
#include <string>

#include "alexnet/precision.h"
#include "alexnet/size.h"
#include "launch.cuh"
#include "tile_gemm.cuh"

namespace alexnet::cuda {

enum class Layer { kDense, kConvolution };

constexpr size_t kMultiprocessors = 132;
constexpr size_t kEnoughElements = 128 * 128;  // of sums, on each of them
constexpr size_t kLeastSplitDepth = 256;
constexpr size_t kLeastForcedDepth = 32;
constexpr size_t kMostSplits = 96;
constexpr size_t kFewRows = 64;

struct Blocking {
    size_t rows, columns, splits;
};

// `elements`: of a tile.
inline size_t split_count(size_t tiles, size_t elements, size_t depth) {
    const size_t most = std::clamp<size_t>(depth / kLeastSplitDepth, 1, kMostSplits);
    const size_t enough = kMultiprocessors * (kEnoughElements / elements);  // blocks
    for (size_t splits = 1; splits < most; ++splits) {
        const size_t blocks = tiles * splits;
        const size_t rounds = ceil_div(blocks, kMultiprocessors) * kMultiprocessors;
        const bool full = blocks * 5 >= std::max(rounds, enough) * 4;
        if (full && (splits == 1 || blocks >= enough)) return splits;
    }
    return most;
}

// Of this thread: what force_blocking has asked for; rows of 0: the rule.
inline Blocking& forced_blocking() {
    thread_local Blocking forced = {0, 0, 0};
    return forced;
}

inline Blocking blocking(Layer layer, bool tensor_cores, size_t m, size_t n, size_t depth,
                         size_t groups) {
    if (const Blocking& forced = forced_blocking(); forced.rows != 0) {
        const size_t most = std::clamp<size_t>(depth / kLeastForcedDepth, 1, kMostSplits);
        return {forced.rows, forced.columns, std::min(forced.splits, most)};
    }
    const bool few = layer == Layer::kDense && m <= kFewRows;
    const bool odd = layer == Layer::kConvolution && ceil_div(n, 64) % 2 == 1;
    const size_t rows = few ? 32 : 128, columns = !few && (odd || !tensor_cores) ? 64 : 128;
    const size_t tiles = ceil_div(m, rows) * ceil_div(n, columns) * groups;
    return {rows, columns, split_count(tiles, rows * columns, depth)};
}

// Bytes that run_product wants as its workspace; of a weight's gradient with the sums of B's columns.
inline size_t product_workspace(Layer layer, size_t m, size_t n, size_t depth, size_t groups,
                                bool sums_columns = false) {
    const size_t splits = std::max(blocking(layer, true, m, n, depth, groups).splits,
                                   blocking(layer, false, m, n, depth, groups).splits);
    return splits > 1 ? size_t{Size{splits} * groups * (m + sums_columns) * n * sizeof(float)} : 0;
}

// An index of the kernels, which has 31 bits.
inline uint32_t gemm_index(size_t value) {
    if (value >= size_t{1} << 31) {
        throw std::length_error("matrix product: an index of " + std::to_string(value) +
                                " is beyond 2^31 - 1; use a smaller batch");
    }
    return static_cast<uint32_t>(value);
}

// A matrix, as an operand, whose rows or depths are `stride` elements apart.
template <bool depth_contiguous, class T>
MatrixOperand<depth_contiguous, T> matrix(const T* data, size_t stride, size_t group_step = 0) {
    return {data, static_cast<int32_t>(gemm_index(stride * sizeof(T))), group_step};
}

// Whether runs of `run` elements, the first of them at `data`, can be copied 16 bytes at a time.
template <class T>
bool has_vectors(const T* data, size_t run) {
    return is_aligned16(data) && run * sizeof(T) % kChunkBytes == 0;
}

template <bool tensor_cores, class T, int a_width, int b_width, class A, class B, class Rows>
void launch_tiles(const Product<A, B, Rows>& p, uint32_t groups, Stream stream) {
    using Gemm = TileGemm<tensor_cores, T, a_width, b_width, A, B, Rows>;
    const size_t tiles = ceil_div(p.m, T::kRows) * ceil_div(p.n, T::kColumns);
    launch("tile_gemm", tile_gemm<Gemm>, dim3(gemm_index(tiles), p.splits, groups),
           dim3(T::kThreads), Gemm::kSharedBytes, stream, p);
}

template <Layer layer, bool tensor_cores, class A, class B, class Rows>
void launch_vectors(const Product<A, B, Rows>& p, const Blocking& blocks, uint32_t groups,
                    Stream stream) {
    constexpr int kWidth = kChunkBytes / sizeof(typename A::Element);
    if constexpr (layer == Layer::kDense) {
        if (blocks.rows == 32) {
            using T = Tile<32, 128, 32, 64>;
            return launch_tiles<tensor_cores, T, kWidth, kWidth>(p, groups, stream);
        }
    }
    if constexpr (tensor_cores) {
        if (layer == Layer::kDense || blocks.columns == 128) {
            using T = Tile<128, 128, 64, 64>;
            return launch_tiles<tensor_cores, T, kWidth, kWidth>(p, groups, stream);
        }
    }
    if constexpr (layer == Layer::kConvolution || !tensor_cores) {
        using T = Tile<128, 64, tensor_cores ? 64 : 32, 64>;
        launch_tiles<tensor_cores, T, kWidth, kWidth>(p, groups, stream);
    }
}

// The product alone. Vectors: whether the operand can be copied 16 bytes at a time.
template <Layer layer, bool tensor_cores, class A, class B, class Rows>
void launch_product(const Product<A, B, Rows>& p, const Blocking& blocks, uint32_t groups,
                    bool a_vectors, bool b_vectors, Stream stream) {
    if constexpr (!kCopiesItself<A>) {
        if (!a_vectors || !b_vectors) {
            if constexpr (sizeof(typename A::Element) == 2) {
                return launch_tiles<true, Tile<64, 64, 32, 32>, 1, 1>(p, groups, stream);
            } else {
                using T = Tile<128, 64, 32, 64>;
                if constexpr (layer == Layer::kConvolution && !B::kDepthContiguous) {
                    if (b_vectors) return launch_tiles<tensor_cores, T, 1, 4>(p, groups, stream);
                }
                return launch_tiles<false, T, 1, 1>(p, groups, stream);
            }
        }
    }
    launch_vectors<layer, tensor_cores>(p, blocks, groups, stream);
}

// Run a product, `precision` being that of float32 elements.
template <Layer layer, class A, class B, class Rows>
void run_product(Product<A, B, Rows> p, size_t group_count, Precision precision, bool a_vectors,
                 bool b_vectors, void* workspace, Stream stream) {
    const bool tf32 = precision == Precision::kTf32;
    const bool tensor_cores = tf32 || !std::is_same_v<typename A::Element, float>;
    const Blocking blocks = blocking(layer, tensor_cores, p.m, p.n, p.depth, group_count);
    const uint32_t groups = gemm_index(group_count);
    p.splits = static_cast<uint32_t>(blocks.splits);
    p.partial = p.splits > 1 ? static_cast<float*>(workspace) : nullptr;
    if constexpr (!std::is_same_v<typename A::Element, float>) {
        launch_product<layer, true>(p, blocks, groups, a_vectors, b_vectors, stream);
    } else if constexpr (kIsMarked<Rows>) {  // what an algorithm in float32 leaves over
        launch_product<layer, false>(p, blocks, groups, a_vectors, b_vectors, stream);
    } else {
        tf32 ? launch_product<layer, true>(p, blocks, groups, a_vectors, b_vectors, stream)
             : launch_product<layer, false>(p, blocks, groups, a_vectors, b_vectors, stream);
    }
    if (p.splits == 1) return;
    const auto sum = [&](auto kernel, size_t width) {
        const size_t places = p.n / width;
        const dim3 grid(blocks_for(p.partial_rows() * places), 1, groups);
        launch("sum_splits", kernel, grid, dim3(kBlockThreads), 0, stream, p, Divisor(places));
    };
    using P = Product<A, B, Rows>;
    const bool vectors = is_aligned16(p.c) && is_aligned16(p.relu_output) && p.n % 4 == 0;
    vectors ? sum(sum_splits<P, 4>, 4) : sum(sum_splits<P, 1>, 1);
}

// run_product, where `marks` are given only of the rows whose mark is not 0.
template <Layer layer, class A, class B, class Rows, class... Rest>
void run_marked(const Product<A, B, Rows>& p, const uint32_t* marks, size_t rows_per_mark,
                Rest... rest) {
    if constexpr (std::is_same_v<typename A::Element, float>) {
        if (marks) {
            using Marked = MarkedRows<Rows>;
            Product<A, B, Marked> of_marks{
                p.a, p.b,    Marked{p.rows, marks, Divisor(rows_per_mark)},
                p.m, p.n,    p.depth,
                p.c, p.bias, p.relu};
            of_marks.relu_output = p.relu_output;
            return run_product<layer>(of_marks, rest...);
        }
    }
    run_product<layer>(p, rest...);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_LAUNCH_CUH_
