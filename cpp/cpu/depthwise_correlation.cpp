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

constexpr size_t kTasksAThread = 4;

// Rows of the frame with which the windows of any grid begin.
Range first_rows(const Correlation& c) {
    Range all{c.frame.rows, 0};
    for (const PixelGrid& grid : c.grids) {
        if (grid.rows == 0) continue;
        all.begin = std::min(all.begin, grid.first_row);
        all.end = std::max(all.end, grid.first_row + (grid.rows - 1) * grid.row_step + 1);
    }
    return {std::min(all.begin, all.end), all.end};
}

size_t most_window_rows(const Correlation& c) {
    size_t most = 1;
    for (const PixelGrid& grid : c.grids) most = std::max(most, grid.window_rows);
    return most;
}

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
            if (first < grid.first_row || (first - grid.first_row) % grid.row_step != 0) continue;
            const size_t r = (first - grid.first_row) / grid.row_step;
            if (r >= grid.rows) continue;
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
    const Range all = first_rows(c);
    const size_t ring_rows = most_window_rows(c), team = static_cast<size_t>(threads);
    const size_t whole = c.batch * c.panels.count;  // tasks, if none were cut into bands
    // Each band spreads the rows that its first window shares with the band before once more.
    const size_t most_bands = std::max<size_t>(all.size() / (2 * ring_rows), 1);
    const size_t bands =
        team == 1 ? 1 : std::clamp<size_t>(ceil_div(kTasksAThread * team, whole), 1, most_bands);
    const size_t tasks = whole * bands;
    const Slices memory(
        Slot::kThreadMemory, std::min(team, tasks),
        SpreadRows::memory_size(c.frame, groups_of(c), c.panels.width, ring_rows));
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const Range band = part(all.size(), bands, task % bands);
        const size_t image_block = task / bands;
        correlate_band(k, c, image_block / c.panels.count, image_block % c.panels.count,
                       {all.begin + band.begin, all.begin + band.end}, ring_rows, memory[thread]);
    });
}

}  // namespace alexnet::cpu::depthwise
