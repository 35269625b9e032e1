#include "gemm.h"

#include <cstring>

namespace alexnet::cpu {

void pack_panel(const KernelTable& k, size_t depth, size_t columns, const float* b, size_t b_row,
                float* panel) {
    const size_t nr = k.gemm_nr;
    k.copy_rows(depth, columns, b, b_row, panel, nr);
    for (size_t i = 0; columns < nr && i < depth; ++i) {
        std::memset(panel + i * nr + columns, 0, (nr - columns) * sizeof(float));
    }
}

void pack_panel_transposed(const KernelTable& k, size_t depth, size_t columns, const float* b,
                           size_t b_row, float* panel) {
    const size_t nr = k.gemm_nr;
    // A few rows of the panel at a time: they stay in L1 while each source row adds its column.
    constexpr size_t kRowsAtOnce = 64;
    for (size_t first = 0; first < depth; first += kRowsAtOnce) {
        const size_t rows = std::min(kRowsAtOnce, depth - first);
        float* target = panel + first * nr;
        for (size_t j = 0; j < columns; ++j) {
            const float* source = b + j * b_row + first;
            for (size_t i = 0; i < rows; ++i) target[i * nr + j] = source[i];
        }
        for (size_t i = 0; columns < nr && i < rows; ++i) {
            std::memset(target + i * nr + columns, 0, (nr - columns) * sizeof(float));
        }
    }
}

DepthBlocks::DepthBlocks(const std::vector<GemmSegment>& segments, size_t depth_stride) {
    for (const GemmSegment& segment : segments) {
        const size_t pieces = std::max<size_t>(1, ceil_div(segment.depth, kDepthBlock));
        for (size_t p = 0; p < pieces; ++p) {
            const Range piece = part(segment.depth, pieces, p);
            segments_.push_back({segment.offset + piece.begin * depth_stride, piece.size()});
        }
    }
    size_t begin = 0;
    for (size_t i = 0; i < segments_.size();) {
        Block block{&segments_[i], 0, begin};
        size_t depth = 0;
        while (i < segments_.size() && (depth == 0 || depth + segments_[i].depth <= kDepthBlock)) {
            depth += segments_[i++].depth;
            ++block.segment_count;
        }
        begin += depth;
        blocks_.push_back(block);
    }
}

void multiply_panel(const KernelTable& k, const Product& product, const DepthBlocks::Block& block,
                    const float* panel, size_t first, size_t columns,
                    const GemmEpilogue& epilogue) {
    const GemmRows rows{product.row_stride, product.depth_stride, block.segments,
                        block.segment_count};
    const float* b = panel + block.begin * k.gemm_nr;
    const size_t tiles = ceil_div(product.rows, k.gemm_mr);
    for (size_t t = 0; t < tiles; ++t) {
        const Range tile = part(product.rows, tiles, t);
        k.gemm[tile.size() - 1](product.a + tile.begin * product.row_stride, rows, b,
                                product.c + tile.begin * product.c_row + first, product.c_row,
                                columns, epilogue);
    }
}

}  // namespace alexnet::cpu
