// What the drivers of matrix products share of the five loops of docs/kernels/gemm.md: packing B
// (before ic), the panels of a block (jr) and the register tiles of its rows (ir). Each driver has
// the loops around them and says in its header what NC, KC and MC are there.
//
// B (depth × columns) is packed into panels that are NR columns wide, a few vectors: panel p holds,
// for each k in turn, columns p·NR .. (p + 1)·NR of row k, zeros beyond the last column. The
// micro-kernel reads its panel from front to back.
//
//             panel 0      panel 1       panel 2
//           ┌── NR ───┬── NR ───┬─ rest 0 0 ┐
//    k = 0  │ 1 ----> │         │           │     in memory: row k = 0 of panel 0, row k = 1 of
//    k = 1  │ 2 ----> │         │           │     panel 0, ... to its last; then panel 1
//     ...   │         │         │           │
//           └─────────┴─────────┴───────────┘

#ifndef ALEXNET_CPU_GEMM_H_
#define ALEXNET_CPU_GEMM_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "alexnet/size.h"
#include "microkernels/kernels.h"

namespace alexnet::cpu {

constexpr size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

constexpr size_t kWidestPanel = 64;  // columns, of any instruction set
constexpr size_t kBlockRows = 12;    // rows of A copied at a time: whole tiles, within a cache line

struct Range {
    size_t begin, end;
    size_t size() const { return end - begin; }
};

// Part `index` of `parts` of [0, total), the parts as even as they can be.
inline Range part(size_t total, size_t parts, size_t index) {
    return {total * index / parts, total * (index + 1) / parts};
}

// How the columns of B are cut into panels, all of the same width but the last. One thread gets as
// few panels as the register tiles allow. Where several threads share the panels, the width is the
// one with which the last of them is done first. It does not show in the results.
struct Panels {
    Panels(const KernelTable& k, size_t all_columns, size_t threads = 1) : columns(all_columns) {
        const size_t vectors = ceil_div(columns, k.lanes);
        size_t best = 1, least = SIZE_MAX;
        for (size_t wide = std::min(k.gemm->vectors, vectors); wide >= 1; --wide) {
            // A panel counts as a vector more than it has: narrow ones are slower.
            const size_t work = ceil_div(ceil_div(vectors, wide), threads) * (wide + 1);
            if (work < least) {
                least = work;
                best = wide;
            }
        }
        width = ceil_div(vectors, ceil_div(vectors, best)) * k.lanes;
        count = ceil_div(columns, width);
    }
    Range operator[](size_t p) const { return {p * width, std::min((p + 1) * width, columns)}; }
    // Floats when packed.
    Size size(size_t depth) const { return Size{count} * width * depth; }

    size_t columns, width, count;  // width is NR
};

// Rows `depth` of B into one panel: B(k, j) is b[k*b_row + j], j < columns <= width.
void pack_panel(const KernelTable& k, size_t depth, size_t columns, const float* b, size_t b_row,
                float* panel, size_t width);

// The same from B stored transposed: B(k, j) is b[j*b_row + k].
void pack_panel_transposed(const KernelTable& k, size_t depth, size_t columns, const float* b,
                           size_t b_row, float* panel, size_t width);

// The operands and destination of a product that multiply_panel computes a panel of.
struct Product {
    size_t rows;
    const float* a;  // element (i, k): as GemmRows, with the segments of each block
    size_t row_stride, depth_stride;
    size_t width;  // of B's panels
    float* c;      // row i, column j: c[i*c_row + j]
    size_t c_row;
    size_t prefetch_distance = 0;  // of B into L2, in floats; 0: not prefetched
};

// Whether rows of C, c_row floats apart, are whole cache lines, so that they can be streamed.
inline bool fills_lines(const float* c, size_t c_row, size_t columns) {
    return reinterpret_cast<uintptr_t>(c) % kLineBytes == 0 && c_row % kLineFloats == 0 &&
           columns % kLineFloats == 0;
}

// KC, the longest chain of FMAs of one output element. Summation in blocks bounds the rounding
// error (about eps·sqrt(block) within and eps·sqrt(depth/block) between them), and a panel of B
// stays in L2: 2048 × 64 floats are 512 KiB.
constexpr size_t kDepthBlock = 2048;

// The depth of a product, cut into blocks of about kDepthBlock: the steps of loop pc. Blocks are
// whole segments where these are short; a long segment is cut into several.
class DepthBlocks {
  public:
    explicit DepthBlocks(const std::vector<GemmSegment>& segments, size_t depth_stride = 1);
    DepthBlocks(const DepthBlocks&) = delete;  // blocks point into segments_
    DepthBlocks(DepthBlocks&&) = default;

    struct Block {
        const GemmSegment* segments;
        size_t segment_count;
        size_t begin;  // first depth of the block: where it starts in a panel of B
    };
    const std::vector<Block>& blocks() const { return blocks_; }

  private:
    std::vector<GemmSegment> segments_;
    std::vector<Block> blocks_;
};

// Loop ir: rows 0 .. product.rows of C times one packed panel, over one block of the depth.
void multiply_panel(const KernelTable& k, const Product& product, const DepthBlocks::Block& block,
                    const float* panel, Range columns, const GemmEpilogue& epilogue);

// The same over one segment of any depth, with KC such that a piece of the panel stays in L1: all
// rows are multiplied with the first piece, with the epilogue `first`, then with each of the
// others, with the epilogue `rest`.
void multiply_in_pieces(const KernelTable& k, const Product& product, size_t depth,
                        const float* panel, Range columns, const GemmEpilogue& first,
                        const GemmEpilogue& rest);

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_GEMM_H_
