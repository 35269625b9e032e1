// Dense layer and its gradients as matrix products: on the micro-kernel of microkernels/gemm.cpp
// where an operand has to be packed or copied anyway, on that of microkernels/dense.cpp where both
// are contiguous along the depth.
//   y = x · W + b          dx = dy · Wᵀ          dW = xᵀ · dy,  db = Σ dy
// Shapes: x, dx (batch, in); y, dy (batch, out); W, dW (in, out); all f32, contiguous.
//
// The five loops of docs/kernels/gemm.md (A, B and C of each pass, and who has which loop):
//
//              C    A    B     jc, step NC             pc, step KC   ic, step MC
//   forward    y    x    W     columns of a task       kDepth        the whole batch
//   dW         dW   xᵀ   dy    all, NC = N             kDepth        kMostBlockRows, outside of pc
//   dx         dot products, both operands in place; KC is kDotDepth
//
// jr is the loop over panels, ir is multiply_panel (gemm.h). Threads share jc forward, ic in the
// gradients.
//
// Cost: 2 · batch · in · out FLOP, and the weights once through memory: 4 · in · out bytes. Below a
// batch of about 50 the memory is the bound, so each pass reads (or writes) every weight once, in
// long rows, for all images of the batch. A small batch reads them in place, for which the sums are
// loaded and stored again every kRowsAtOnce rows; a large one packs them. The other operand is
// copied into small blocks with kRowGap between the rows: in place its rows often are a multiple of
// 4 KiB apart, and would compete for the same few sets of the L1 cache.
//
// Threads: each task owns a range of output columns (forward) or input features (gradients).
// Numerics: chains of at most kDepth FMAs, in the input's gradient kDotDepth over the lanes of a
// vector, summed in order; the same for every partition.

#include "alexnet/dense.h"

#include "column_sums.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kDepth = 256;           // KC, the depth of one block
constexpr size_t kDotDepth = 1024;       // KC of dot products: dy of all images stays in L2
constexpr size_t kColumns = 2048;        // NC of forward at most: weights are read in long runs
constexpr size_t kSmallBatch = 32;       // fewer rows do not repay packing the weights
constexpr size_t kFewRows = 4;           // up to here register tiles would be mostly empty
constexpr size_t kLeastRun = 64;         // NR, in floats, from which weights are read in place
constexpr size_t kRowsAtOnce = 32;       // of W in place: stay in L2 while all images use them
constexpr size_t kRowGap = kLineFloats;  // floats between the rows of a copied block
constexpr size_t kMostBlockRows = 48;    // MC of dW: input features multiplied with a panel of dy
constexpr size_t kBlockFloats = 3072;    // MC · KC of dW: x stays in L1 beside the panel
constexpr size_t kWorthATask = 1 << 16;  // multiply-adds
constexpr GemmEpilogue kResume{.resume = true};

// Rows × depth floats of a, into rows of depth + kRowGap.
void copy_block(const KernelTable& k, size_t rows, size_t depth, const float* a, size_t a_row,
                float* block) {
    k.copy_rows(rows, depth, a, a_row, block, depth + kRowGap);
}

// NC, the columns that a task owns: whole cache lines, a range for each thread.
size_t columns_a_task(size_t columns, size_t threads) {
    return std::min(kColumns, ceil_div(ceil_div(columns, kLineFloats), threads) * kLineFloats);
}

// The depth of a block in segments, each of which prefetches one row of the weights into L2: the
// rows that are packed next. Products leave the memory idle, and packing would wait for it.
class PrefetchingSegments {
  public:
    PrefetchingSegments(size_t depth, const float* next, size_t rows, size_t row_stride)
        : count_(std::clamp<size_t>(rows, 1, kMostRows)) {
        for (size_t i = 0; i < count_; ++i) {
            const Range piece = part(depth, count_, i);
            segments_[i] = {.offset = piece.begin,
                            .depth = piece.size(),
                            .prefetch_from = rows > 0 ? next + i * row_stride : nullptr};
        }
    }
    DepthBlocks::Block block() const {
        return {.segments = segments_, .segment_count = count_, .begin = 0};
    }

  private:
    static constexpr size_t kMostRows = 16;
    GemmSegment segments_[kMostRows];
    size_t count_;
};

// A small batch: the weights are read where they lie, block after block for a range of columns,
// some rows at a time.
void dense_in_place(const KernelTable& k, const DenseShape& s, const float* x, const float* weight,
                    const float* bias, bool relu, float* y) {
    const int threads = num_threads();
    const bool few = s.batch <= kFewRows;
    const size_t width = columns_a_task(s.out_features, static_cast<size_t>(threads));
    const Size block_size = few ? Size{0} : padded(Size{s.batch} * (kDepth + kRowGap));
    const size_t sum_row = width + kRowGap;
    const Slices memory(Slot::kThreadMemory, static_cast<size_t>(threads),
                        block_size + Size{s.batch} * sum_row);
    parallel_tasks(threads, ceil_div(s.out_features, width), [&](size_t task, size_t thread) {
        float* block = memory[thread];
        float* sums = block + block_size;
        const size_t first = task * width;
        const size_t columns = std::min(width, s.out_features - first);
        const Panels panels(k, columns);
        for (size_t begin = 0; begin < s.in_features; begin += kDepth) {
            const size_t depth = std::min(kDepth, s.in_features - begin);
            std::fill_n(sums, s.batch * sum_row, 0.0f);
            if (!few) copy_block(k, s.batch, depth, x + begin, s.in_features, block);
            for (size_t i = 0; i < depth; i += kRowsAtOnce) {
                const size_t rows = std::min(kRowsAtOnce, depth - i);
                const float* w = weight + (begin + i) * s.out_features + first;
                for (size_t b = 0; few && b < s.batch; ++b) {
                    k.add_weighted_rows(rows, columns, x + b * s.in_features + begin + i, w,
                                        s.out_features, sums + b * sum_row);
                }
                const GemmSegment segment{.offset = 0, .depth = rows};
                const Product product{.rows = s.batch,
                                      .a = block + i,
                                      .row_stride = depth + kRowGap,
                                      .depth_stride = 1,
                                      .width = s.out_features,
                                      .c = sums,
                                      .c_row = sum_row};
                for (size_t p = 0; !few && p < panels.count; ++p) {
                    multiply_panel(k, product,
                                   {.segments = &segment, .segment_count = 1, .begin = 0},
                                   w + panels[p].begin, panels[p], kResume);
                }
            }
            const float one = 1.0f;
            for (size_t b = 0; b < s.batch; ++b) {
                float* row = y + b * s.out_features + first;
                if (begin > 0) {
                    k.add_weighted_rows(1, columns, &one, sums + b * sum_row, columns, row);
                } else {
                    k.copy(columns, sums + b * sum_row, row);
                }
                if (begin + depth < s.in_features) continue;
                if (bias) k.add_weighted_rows(1, columns, &one, bias + first, columns, row);
                if (relu) k.relu(columns, row, row);
            }
        }
    });
}

}  // namespace

// Loop jc is the tasks, pc the blocks of the depth: each block of W is packed, then multiplied with
// all rows.
void dense(const DenseShape& s, const float* x, const float* weight, const float* bias, bool relu,
           float* y) {
    if (s.batch == 0) return;
    const KernelTable& k = kernels();
    // Register tiles can read W in place where its rows are whole vectors, and it pays where NR
    // takes several neighbouring cache lines of each row.
    const bool whole_runs = k.gemm->vectors * k.lanes >= kLeastRun && s.out_features % k.lanes == 0;
    if (s.batch <= (whole_runs ? kSmallBatch : kFewRows)) {
        return dense_in_place(k, s, x, weight, bias, relu, y);
    }
    const int threads = num_threads();
    const size_t width = columns_a_task(s.out_features, static_cast<size_t>(threads));
    const size_t most_depth = std::min(kDepth, s.in_features);
    const Size packed_size = padded(Panels(k, width).size(most_depth));
    const Size block_size = Size{s.batch} * (most_depth + kRowGap);
    const Slices memory(Slot::kThreadMemory, static_cast<size_t>(threads),
                        packed_size + block_size);
    parallel_tasks(threads, ceil_div(s.out_features, width), [&](size_t task, size_t thread) {
        float* packed = memory[thread];
        float* block = packed + packed_size;
        const size_t first = task * width;
        const size_t last = std::min(first + width, s.out_features);
        const Panels panels(k, last - first);
        const size_t whole = (last - first) / panels.width, rest = (last - first) % panels.width;
        for (size_t begin = 0; begin < s.in_features; begin += kDepth) {
            const size_t depth = std::min(kDepth, s.in_features - begin);
            const bool final_block = begin + depth == s.in_features;
            copy_block(k, s.batch, depth, x + begin, s.in_features, block);
            const Product product{.rows = s.batch,
                                  .a = block,
                                  .row_stride = depth + kRowGap,
                                  .depth_stride = 1,
                                  .width = panels.width,
                                  .c = y + first,
                                  .c_row = s.out_features};
            for (size_t i = 0; i < depth; ++i) {
                const float* row = weight + (begin + i) * s.out_features + first;
                float* target = packed + i * panels.width;
                k.copy_rows(whole, panels.width, row, panels.width, target, depth * panels.width);
                if (rest > 0) {
                    pack_panel(k, 1, rest, row + whole * panels.width, 0,
                               target + whole * depth * panels.width, panels.width);
                }
            }
            const size_t next_depth = std::min(kDepth, s.in_features - begin - depth);
            for (size_t p = 0; p < panels.count; ++p) {
                const Range next = part(next_depth, panels.count, p), columns = panels[p];
                const PrefetchingSegments prefetcher(
                    depth, weight + (begin + depth + next.begin) * s.out_features + first,
                    next.size(), s.out_features);
                const bool with_bias = final_block && bias;
                multiply_panel(k, product, prefetcher.block(), packed + columns.begin * depth,
                               columns,
                               {.accumulate = begin > 0,
                                .bias = with_bias ? bias + first + columns.begin : nullptr,
                                .relu = final_block && relu});
            }
        }
    });
}

// dx = dy · Wᵀ: rows of dy times rows of the weights, both in place.
void dense_backward_input(const DenseShape& s, const float* dy, const float* weight, float* dx) {
    if (s.batch == 0) return;
    const KernelTable& k = kernels();
    const size_t grain = ceil_div(kWorthATask, s.out_features * s.batch);
    parallel_for(s.in_features, grain, [&](size_t first, size_t last) {
        for (size_t begin = 0; begin < s.out_features; begin += kDotDepth) {
            k.dot_rows(last - first, std::min(kDotDepth, s.out_features - begin),
                       weight + first * s.out_features + begin, s.out_features, s.batch, dy + begin,
                       s.out_features, begin > 0, dx + first, s.in_features);
        }
    });
}

// dW = xᵀ · dy: the depth is the batch. Up to a batch of KC each weight gradient is written once.
// It is streamed then, since it is read much later, and an ordinary store would read the line
// first, which doubles the traffic. Streams and lines that come from L2 use the same few fill
// buffers of a core, so blocks of x are large enough that both operands come from L1 most of the
// time.
void dense_backward_weight(const DenseShape& s, const float* dy, const float* x, float* dweight,
                           float* dbias) {
    const KernelTable& k = kernels();
    column_sums(s.batch, s.out_features, dy, dbias);
    const int threads = num_threads();
    if (s.batch == 0) {
        std::fill(dweight, dweight + s.in_features * s.out_features, 0.0f);
        return;
    }
    const Panels panels(k, s.out_features);
    float* packed = scratch(Slot::kPackedPanels, panels.size(s.batch));
    parallel_tasks(threads, panels.count, [&](size_t p, size_t) {
        const Range columns = panels[p];
        pack_panel(k, s.batch, columns.size(), dy + columns.begin, s.out_features,
                   packed + columns.begin * s.batch, panels.width);
    });

    const size_t most_depth = std::min(s.batch, kDepth);
    const size_t fitting = kBlockFloats / most_depth / kBlockRows * kBlockRows;
    const size_t most_rows = std::clamp(fitting, kBlockRows, kMostBlockRows);
    const size_t block_row = padded(most_rows);
    const Slices blocks(Slot::kThreadMemory, static_cast<size_t>(threads),
                        Size{most_depth} * block_row);
    const bool stream = s.batch <= kDepth && fills_lines(dweight, s.out_features, s.out_features);
    const size_t all_blocks = ceil_div(s.in_features, most_rows);
    const size_t block_work = most_rows * s.out_features * s.batch;
    const size_t tasks = ceil_div(all_blocks, ceil_div(kWorthATask, block_work));
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        float* block = blocks[thread];
        const Range own = part(all_blocks, tasks, task);
        for (size_t i = own.begin; i < own.end; ++i) {
            const Range rows = part(s.in_features, all_blocks, i);
            for (size_t begin = 0; begin < s.batch; begin += kDepth) {
                const size_t depth = std::min(kDepth, s.batch - begin);
                const GemmSegment segment{.offset = 0, .depth = depth};
                k.copy_rows(depth, rows.size(), x + begin * s.in_features + rows.begin,
                            s.in_features, block, block_row);
                const Product product{.rows = rows.size(),
                                      .a = block,
                                      .row_stride = 1,
                                      .depth_stride = block_row,
                                      .width = panels.width,
                                      .c = dweight + rows.begin * s.out_features,
                                      .c_row = s.out_features};
                for (size_t p = 0; p < panels.count; ++p) {
                    multiply_panel(k, product,
                                   {.segments = &segment, .segment_count = 1, .begin = begin},
                                   packed + panels[p].begin * s.batch, panels[p],
                                   {.accumulate = begin > 0, .stream = stream});
                }
            }
        }
        if (stream) k.stream_fence();
    });
}

}  // namespace alexnet::cpu
