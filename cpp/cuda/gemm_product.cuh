// A product as the kernels take it, and how its sums reach C.

#ifndef ALEXNET_CUDA_GEMM_PRODUCT_CUH_
#define ALEXNET_CUDA_GEMM_PRODUCT_CUH_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "device.cuh"
#include "gemm_column_sums.cuh"
#include "gemm_layout.cuh"
#include "gemm_operands.cuh"
#include "gemm_relu.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

// Depths of one chain of additions: rounding errors of float32 grow as its root (tests/support/
// arrays.py: 8e-7). Where elements have 16 bits their own rounding hides that of any chain.
constexpr uint32_t kAllDepths = 1u << 31;
template <class T>
constexpr uint32_t kChain = sizeof(T) == 4 ? 2048 : kAllDepths;

// Rows of C of which only those are computed whose mark is not 0, of `rows_per_mark` each. Others are
// not written, and blocks without a row to compute end at once.
template <class Rows>
struct MarkedRows : Rows {
    static constexpr bool kSumsColumns = false;  // the blocks that would are not all there

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

// The elements of C: Rows::Out, or those of the operands.
template <class Rows, class Element, class = void>
struct ElementOfC {
    using Type = Element;
};
template <class Rows, class Element>
struct ElementOfC<Rows, Element, std::void_t<typename Rows::Out>> {
    using Type = typename Rows::Out;
};

template <class A, class B, class Rows_>
struct Product {
    using Rows = Rows_;
    using Element = typename A::Element;
    using Out = typename ElementOfC<Rows, Element>::Type;
    static_assert(std::is_same_v<Element, typename B::Element>);

    A a;
    B b;
    Rows rows;  // where the rows of c begin
    uint32_t m, n, depth;
    Out* c;
    const float* bias;  // n for each group; may be null
    bool relu;
    uint32_t splits = 1;
    // Sums of each split, (splits, groups, partial_rows(), n); null with one split. B's columns are
    // a row behind the others where they are added up.
    float* partial = nullptr;
    const Out* relu_output = nullptr;  // as c; C becomes 0 where it is not positive; null: nowhere
    float* column_sums = nullptr;      // of B, n for each group; null: not wanted

    // Depths of a split: whole steps, so that copies of 16 bytes stay aligned.
    __host__ __device__ uint32_t split_depth() const {
        constexpr uint32_t kDepths = kTileDepth<Element>;
        const uint32_t steps = (depth + kDepths - 1) / kDepths;
        return (steps + splits - 1) / splits * kDepths;
    }
    // Where row i of a group begins, in c and in the sums of one split.
    __device__ Out* row(uint32_t i, uint32_t group) const {
        return c + rows(i) + size_t{group} * n;
    }
    __device__ float* partial_row(uint32_t i, uint32_t split, uint32_t group,
                                  uint32_t groups) const {
        return partial + ((size_t{split} * groups + group) * partial_rows() + i) * n;
    }
    __host__ __device__ uint32_t partial_rows() const { return m + kSumsColumns<Rows>; }
    // Of columns that are not there, the last one's.
    __device__ float bias_of(uint32_t column, uint32_t group) const {
        return bias ? bias[size_t{group} * n + min(column, n - 1)] : 0.0f;
    }
    // NaN stays NaN.
    __device__ float finish(float value, float its_bias) const {
        if (bias) value += its_bias;
        return relu && value < 0.0f ? 0.0f : value;
    }
};

// Write a warp's part of C, from `row` and `column` on, to the lines that line_of(row) gives: added
// to what is there unless it is the `first` chain, and with bias and ReLU, or through the ReLU
// before, if it is to `finish`.
template <class Fragment, class P, class LineOf>
__device__ void store(const P& p, const Fragment& fragment, uint32_t row, uint32_t column, int lane,
                      bool first, bool finish, LineOf line_of) {
    using Out = std::remove_pointer_t<decltype(line_of(row))>;
    constexpr int kRun = Fragment::kRun;
    const bool vectors =
        kRun > 1 && p.n % 4 == 0 && is_aligned16(p.c) && is_aligned16(p.relu_output);
    [[maybe_unused]] Passing<Fragment> passing;
    if constexpr (kThroughRelu<typename P::Rows>) {
        if (finish && p.relu_output) passing.read(p, row, column, lane, vectors);
    }
    // A weight's gradient has neither bias nor ReLU. A bias is read before: each load between the
    // stores would be waited for.
    constexpr bool kHasBias = !kSumsColumns<typename P::Rows>;
    [[maybe_unused]] float bias[Fragment::kColumns];
    if constexpr (kHasBias) {
#pragma unroll
        for (int j = 0; j < Fragment::kColumns; ++j) {
            const uint32_t c = column + Fragment::column(lane, j / kRun * kRun) + j % kRun;
            bias[j] = finish ? p.bias_of(c, blockIdx.z) : 0.0f;
        }
    }
#pragma unroll
    for (int i = 0; i < Fragment::kRows; ++i) {
        const uint32_t r = row + Fragment::row(lane, i);
        if (r >= p.m) continue;
        if constexpr (kIsMarked<typename P::Rows>) {
            if (!p.rows.wants(r)) continue;
        }
        Out* line = line_of(r);
#pragma unroll
        for (int j = 0; j < Fragment::kColumns; j += kRun) {
            const uint32_t c = column + Fragment::column(lane, j);
            Floats<kRun> values;
#pragma unroll
            for (int e = 0; e < kRun; ++e) {
                values.at[e] = fragment.at(i, j + e);
                if (c + e >= p.n) continue;
                if (!first) values.at[e] += to_float(line[c + e]);
                if constexpr (kHasBias) {
                    if (finish) values.at[e] = p.finish(values.at[e], bias[j + e]);
                }
                if constexpr (kThroughRelu<typename P::Rows>) {
                    values.at[e] = passing.pass(values.at[e], i, j + e);
                }
                if (!vectors) line[c + e] = from_float<Out>(values.at[e]);
            }
            if (vectors && c < p.n) store_floats(line + c, values);
        }
    }
}

// The same to C, or to the sums of the block's split where there are any.
template <class Fragment, class P>
__device__ void store(const P& p, const Fragment& fragment, uint32_t row, uint32_t column, int lane,
                      bool first, bool last) {
    const auto partial = [&](uint32_t r) {
        return p.partial_row(r, blockIdx.y, blockIdx.z, gridDim.z);
    };
    if constexpr (std::is_same_v<typename P::Out, float>) {
        const auto line = [&](uint32_t r) { return p.partial ? partial(r) : p.row(r, blockIdx.z); };
        store(p, fragment, row, column, lane, first, last && !p.partial, line);
    } else if (p.partial) {
        store(p, fragment, row, column, lane, first, false, partial);
    } else {
        store(p, fragment, row, column, lane, first, last,
              [&](uint32_t r) { return p.row(r, blockIdx.z); });
    }
}

// Second pass of a product cut into splits: their sums, added in order. A thread owns `width`
// neighbours of a row, which has `places` of them.
template <class P, int width>
__global__ void sum_splits(const P p, const Divisor places) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= p.partial_rows() * places.value()) return;
    const uint32_t row = places.quotient(index), group = blockIdx.z;
    const uint32_t column = (index - row * places.value()) * width;
    if constexpr (kIsMarked<typename P::Rows>) {
        if (!p.rows.wants(row)) return;
    }
    const float* partial = p.partial_row(row, 0, group, gridDim.z) + column;
    const size_t to_next = size_t{gridDim.z} * p.partial_rows() * p.n;
    if (kSumsColumns<typename P::Rows> && row == p.m && !p.column_sums) return;
    auto sum = Floats<width>::of(0);
#pragma unroll 4
    for (uint32_t s = 0; s < p.splits; ++s, partial += to_next) {
        const auto part = load_floats<width>(partial);
#pragma unroll
        for (int e = 0; e < width; ++e) sum.at[e] += part.at[e];
    }
    if constexpr (kSumsColumns<typename P::Rows>) {
        if (row == p.m) {
#pragma unroll
            for (int e = 0; e < width; ++e) {
                p.column_sums[size_t{group} * p.n + column + e] = sum.at[e];
            }
            return;
        }
    }
#pragma unroll
    for (int e = 0; e < width; ++e) {
        sum.at[e] = p.finish(sum.at[e], p.bias_of(column + e, group));
    }
    if constexpr (kThroughRelu<typename P::Rows>) {
        if (p.relu_output) {
            const auto y =
                load_floats<width>(p.relu_output + p.rows(row) + size_t{group} * p.n + column);
#pragma unroll
            for (int e = 0; e < width; ++e) sum.at[e] = y.at[e] > 0 ? sum.at[e] : 0.0f;
        }
    }
    store_floats(p.row(row, group) + column, sum);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_PRODUCT_CUH_
