// The loop around the micro-kernel, ir of docs/kernels/gemm.md, and packing.

#include "gemm.h"

#include <cstring>

namespace alexnet::cpu {

constexpr size_t kPieceFloats = 6 << 10;  // of a panel: 24 KiB stay in L1

void pack_panel(const KernelTable& k, size_t depth, size_t columns, const float* b, size_t b_row,
                float* panel, size_t width) {
    k.copy_rows(depth, columns, b, b_row, panel, width);
    for (size_t i = 0; columns < width && i < depth; ++i) {
        std::memset(panel + i * width + columns, 0, (width - columns) * sizeof(float));
    }
}

void pack_panel_transposed(const KernelTable& k, size_t depth, size_t columns, const float* b,
                           size_t b_row, float* panel, size_t width) {
    k.transpose(columns, depth, b, b_row, panel, width);
    for (size_t i = 0; columns < width && i < depth; ++i) {
        std::memset(panel + i * width + columns, 0, (width - columns) * sizeof(float));
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
        Block block{.segments = &segments_[i], .segment_count = 0, .begin = begin};
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
                    const float* panel, Range columns, const GemmEpilogue& epilogue) {
    if (product.rows == 0) return;
    const float* b = panel + block.begin * product.width;
    const size_t vectors = ceil_div(columns.size(), k.lanes);
    const size_t tiles = ceil_div(product.rows, k.gemm->rows[vectors - 1]);
    const bool prefetch = product.prefetch_distance > 0 || block.segments[0].prefetch_from;
    const size_t panel_floats = kPrefetchInterval * product.width;  // of so many products
    GemmRows rows{.row_stride = product.row_stride,
                  .depth_stride = product.depth_stride,
                  .b_row = product.width,
                  .segments = block.segments,
                  .segment_count = block.segment_count,
                  .prefetch_distance = product.prefetch_distance,
                  .prefetch_lines = prefetch ? ceil_div(panel_floats, kLineFloats * tiles) : 0,
                  .tile = 0};
    const GemmKernel* kernels = k.gemm->kernels[vectors - 1];
    const size_t least = product.rows / tiles, longer = product.rows % tiles;
    const float* a = product.a;
    float* c = product.c + columns.begin;
    for (; rows.tile < tiles; ++rows.tile) {
        const size_t size = least + (rows.tile < longer ? 1 : 0);
        kernels[size - 1](a, rows, b, c, product.c_row, columns.size(), epilogue);
        a += size * product.row_stride;
        c += size * product.c_row;
    }
}

void multiply_in_pieces(const KernelTable& k, const Product& product, size_t depth,
                        const float* panel, Range columns, const GemmEpilogue& first,
                        const GemmEpilogue& rest) {
    const size_t pieces = ceil_div(depth * product.width, kPieceFloats);
    for (size_t i = 0; i < pieces; ++i) {
        const Range piece = part(depth, pieces, i);
        const GemmSegment segment{.offset = piece.begin * product.depth_stride,
                                  .depth = piece.size()};
        multiply_panel(k, product, {.segments = &segment, .segment_count = 1, .begin = piece.begin},
                       panel, columns, i == 0 ? first : rest);
    }
}

}  // namespace alexnet::cpu
