// How a depthwise correlation is cut into tasks, and what a task does: one image, one block of
// channels, one band of rows, from the top down, with the rows that a window sees in a ring.
//
// Cost and numerics: microkernels/depthwise.cpp. Every output is one chain of FMAs, whatever the
// bands are, so the bits are the same for every number of threads.

#include "depthwise_correlation.h"

#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu::depthwise {
namespace {

using direct::Correlation, direct::PixelGrid;

Groups groups_of(const Correlation& c) {
    return {.count = c.groups, .in = c.frame.channels, .out = c.panels.columns / c.groups};
}

// All outputs of image n and a block of channels whose windows begin in some rows of the frame.
void correlate_band(const KernelTable& k, const Correlation& c, size_t n, size_t block, Range band,
                    size_t ring_rows, float* memory) {
    const Range channels = c.panels[block];
    const Frame& f = c.frame;
    SpreadRows rows(k, f, groups_of(c), c.panels.width, channels, ring_rows,
                    c.x + n * f.height * f.width * f.pixel, memory);
    for (size_t first = band.begin; first < band.end; ++first) {
        for (const PixelGrid& grid : c.grids) {
            const size_t r = Correlation::row_at(grid, first);
            if (r == grid.rows) continue;
            const size_t depth = grid.total_depth / grid.window_rows;
            const DepthwiseWindow window =
                rows.window({first, first + grid.window_rows}, grid.first_column, grid.column_step,
                            depth / f.channels);
            k.depthwise(grid.columns, window,
                        grid.packed + block * c.panels.width * grid.total_depth,
                        c.bias ? c.bias + channels.begin : nullptr, c.relu,
                        grid.y + n * grid.image_stride + r * grid.row_stride + channels.begin,
                        grid.pixel_stride, channels.size());
        }
    }
    k.stream_fence();
}

}  // namespace

void correlate(const KernelTable& k, const Correlation& c, int threads) {
    const direct::BandTasks tasks(c, c.panels.count, static_cast<size_t>(threads));
    const size_t ring_rows = c.most_window_rows();
    const Slices memory(Slot::kThreadMemory, std::min(static_cast<size_t>(threads), tasks.count()),
                        SpreadRows::memory_size(c.frame, groups_of(c), c.panels.width, ring_rows));
    parallel_tasks(threads, tasks.count(), [&](size_t task, size_t thread) {
        correlate_band(k, c, tasks.image(task), tasks.block(task), tasks.band(task), ring_rows,
                       memory[thread]);
    });
}

}  // namespace alexnet::cpu::depthwise
