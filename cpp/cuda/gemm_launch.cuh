// Which tile and how many splits a product gets, and its launches.
//
// Tiles: 128 × 128, but for convolutions 128 × 64 where that leaves fewer columns empty, and for
//   dense layers 32 × 128 up to 64 rows, where the weights come through memory once. Operands that
//   can't be copied 16 bytes at a time (runs of neighbours that are no multiple of 4 floats, or
//   data that are not aligned) take 128 × 64, and float32 unless it is A of a convolution alone:
//   images of three channels whose runs have no common alignment (conv2d_runs.cuh).
// Splits: the fewest of at least 256 depths with which an H100's 132 multiprocessors all have 256
//   threads or more, and at most a fifth of the last round of blocks is empty; where there is no
//   such number, as many as the depth allows, up to 96. For 86 tiles of 128 × 128, conv4 of
//   tf-tutorial at batch 32: 3. Both rules look at the shape alone, so that every device has the
//   same bits.

#ifndef ALEXNET_CUDA_GEMM_LAUNCH_CUH_
#define ALEXNET_CUDA_GEMM_LAUNCH_CUH_

#include <algorithm>
#include <stdexcept>
#include <string>

#include "alexnet/size.h"
#include "launch.cuh"
#include "tile_gemm.cuh"

namespace alexnet::cuda {

enum class Layer { kDense, kConvolution };

constexpr size_t kMultiprocessors = 132;
constexpr size_t kEnoughThreads = 256;  // on each of them
constexpr size_t kLeastSplitDepth = 256;
constexpr size_t kLeastForcedDepth = 32;
constexpr size_t kMostSplits = 96;
constexpr size_t kFewRows = 64;

inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

struct Blocking {
    size_t rows, columns, splits;
};

inline size_t split_count(size_t tiles, size_t threads, size_t depth) {
    const size_t most = std::clamp<size_t>(depth / kLeastSplitDepth, 1, kMostSplits);
    for (size_t splits = 1; splits < most; ++splits) {
        const size_t blocks = tiles * splits;
        const size_t places = ceil_div(blocks, kMultiprocessors) * kMultiprocessors;
        const bool enough = blocks * threads >= kMultiprocessors * kEnoughThreads;
        if (enough && blocks * 5 >= places * 4) return splits;
    }
    return most;
}

// Of this thread: what force_blocking has asked for; rows of 0: the rule.
inline Blocking& forced_blocking() {
    thread_local Blocking forced = {0, 0, 0};
    return forced;
}

inline Blocking blocking(Layer layer, size_t m, size_t n, size_t depth, size_t groups) {
    if (const Blocking& forced = forced_blocking(); forced.rows != 0) {
        const size_t most = std::clamp<size_t>(depth / kLeastForcedDepth, 1, kMostSplits);
        return {forced.rows, forced.columns, std::min(forced.splits, most)};
    }
    const bool few = layer == Layer::kDense && m <= kFewRows;
    const bool narrow = layer == Layer::kConvolution && ceil_div(n, 64) % 2 == 1;
    const size_t rows = few ? 32 : 128, columns = narrow ? 64 : 128;
    const size_t tiles = ceil_div(m, rows) * ceil_div(n, columns) * groups;
    const size_t threads = rows * columns / 64;
    return {rows, columns, split_count(tiles, threads, depth)};
}

// Bytes that run_product wants as its workspace.
inline size_t product_workspace(Layer layer, size_t m, size_t n, size_t depth, size_t groups) {
    const size_t splits = blocking(layer, m, n, depth, groups).splits;
    return splits > 1 ? size_t{Size{splits} * groups * m * n * sizeof(float)} : 0;
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

// Whether runs of `run` floats, the first of them at `data`, can be copied 16 bytes at a time.
inline bool has_vectors(const float* data, size_t run) {
    return is_aligned16(data) && run % 4 == 0;
}

template <Precision precision, class T, int a_width, int b_width, class A, class B, class Rows>
void launch_tiles(const Product<A, B, Rows>& p, uint32_t groups, Stream stream) {
    using Gemm = TileGemm<precision, T, a_width, b_width, A, B, Rows>;
    const size_t tiles = ceil_div(p.m, T::kRows) * ceil_div(p.n, T::kColumns);
    launch("tile_gemm", tile_gemm<Gemm>, dim3(gemm_index(tiles), p.splits, groups),
           dim3(T::kThreads), Gemm::kSharedBytes, stream, p);
}

template <Layer layer, Precision precision, class A, class B, class Rows>
void launch_vectors(const Product<A, B, Rows>& p, const Blocking& blocks, uint32_t groups,
                    Stream stream) {
    constexpr int kWarpRows = precision == Precision::kFloat32 ? 32 : 64;
    if constexpr (layer == Layer::kDense) {
        if (blocks.rows == 32) {
            return launch_tiles<precision, Tile<32, 128, 32, 64>, 4, 4>(p, groups, stream);
        }
    } else if (blocks.columns == 64) {
        return launch_tiles<precision, Tile<128, 64, kWarpRows, 64>, 4, 4>(p, groups, stream);
    }
    launch_tiles<precision, Tile<128, 128, kWarpRows, 64>, 4, 4>(p, groups, stream);
}

// Run a product. Vectors: whether the operand can be copied 16 bytes at a time.
template <Layer layer, class A, class B, class Rows>
void run_product(Product<A, B, Rows> p, size_t group_count, Precision precision, bool a_vectors,
                 bool b_vectors, void* workspace, Stream stream) {
    const Blocking blocks = blocking(layer, p.m, p.n, p.depth, group_count);
    const uint32_t groups = gemm_index(group_count);
    p.splits = static_cast<uint32_t>(blocks.splits);
    p.partial = p.splits > 1 ? static_cast<float*>(workspace) : nullptr;
    // Marks are for what an algorithm in float32 leaves over.
    constexpr Precision kTf32 = kIsMarked<Rows> ? Precision::kFloat32 : Precision::kTf32;
    const bool tf32 = precision == Precision::kTf32;
    constexpr bool kAloneScalar =
        layer == Layer::kConvolution && !B::kDepthContiguous && !kHasSingles<A>;
    if (a_vectors && b_vectors) {
        tf32 ? launch_vectors<layer, kTf32>(p, blocks, groups, stream)
             : launch_vectors<layer, Precision::kFloat32>(p, blocks, groups, stream);
    } else if (kAloneScalar && b_vectors) {
        if constexpr (kAloneScalar) {
            using T = Tile<128, 64, 32, 64>;
            tf32 ? launch_tiles<kTf32, T, 1, 4>(p, groups, stream)
                 : launch_tiles<Precision::kFloat32, T, 1, 4>(p, groups, stream);
        }
    } else if constexpr (!kHasSingles<A>) {
        launch_tiles<Precision::kFloat32, Tile<128, 64, 32, 64>, 1, 1>(p, groups, stream);
    }
    if (p.splits == 1) return;
    const auto sum = [&](auto kernel, size_t width) {
        const size_t places = p.n / width;
        const dim3 grid(blocks_for(p.m * places), 1, groups);
        launch("sum_splits", kernel, grid, dim3(kBlockThreads), 0, stream, p, Divisor(places));
    };
    using P = Product<A, B, Rows>;
    has_vectors(p.c, p.n) ? sum(sum_splits<P, 4>, 4) : sum(sum_splits<P, 1>, 1);
}

// run_product, where `marks` are given only of the rows whose mark is not 0.
template <Layer layer, class A, class B, class Rows, class... Rest>
void run_marked(const Product<A, B, Rows>& p, const uint32_t* marks, size_t rows_per_mark,
                Rest... rest) {
    if (!marks) return run_product<layer>(p, rest...);
    const Product<A, B, MarkedRows<Rows>> of_marks{
        p.a, p.b, {p.rows, marks, Divisor(rows_per_mark)}, p.m, p.n, p.depth, p.c, p.bias, p.relu};
    run_product<layer>(of_marks, rest...);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_LAUNCH_CUH_
