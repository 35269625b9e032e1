// A correlation of a padded image with weights, as an implicit matrix product: what forward and the
// input gradient of the direct algorithm share.
//
//     padded image (frame), window 3 × 3         A: one row for each pixel of an output row
//
//     +----------------------------+             pixel 0   [a a a][b b b][c c c]
//     | [a a a] .  .  .  .  .      |             pixel 1      [a a a][b b b][c c c]
//     | [b b b] .  .  .  .  .      |             ...
//     | [c c c] .  .  .  .  .      |             M: pixels, K: window · channels
//     +----------------------------+
//
// One row of the window, kernel_width · channels floats, is contiguous in the image: it is a
// *segment* of the depth. Neighbouring pixels are the same distance apart in all segments, so the
// micro-kernel reads A where it lies, and nothing is copied as im2col does. B, the weights, is
// packed; images are copied only where they need a border of zeros, or are cut into groups, whose
// channels then lie side by side.

#ifndef ALEXNET_CPU_DIRECT_CORRELATION_H_
#define ALEXNET_CPU_DIRECT_CORRELATION_H_

#include <vector>

#include "gemm.h"
#include "window_copy.h"

namespace alexnet::cpu::direct {

// Output pixels that see the same taps: all of them in forward, a phase in the input gradient.
struct PixelGrid {
    size_t rows, columns;
    // Pixel (r, q) of image n is at y + n · image_stride + r · row_stride + q · pixel_stride.
    float* y;
    size_t image_stride, row_stride, pixel_stride;
    // Its window begins at (first_row + r · row_step, first_column + q · column_step) of the frame.
    size_t first_row, first_column;
    size_t row_step, column_step;
    size_t window_rows;
    DepthBlocks depth;
    size_t total_depth;
    const float* packed;  // panels of the weights of every group, one group after the other
};

struct Correlation {
    size_t batch, groups;
    const float* x;
    Frame frame;    // of a group
    Panels panels;  // of a group's output channels
    const float* bias = nullptr;
    bool relu = false;
    std::vector<PixelGrid> grids;

    // Rows of the frame with which windows begin, of whatever grid.
    Range first_rows() const;
    size_t most_window_rows() const;
    // The row of a grid whose windows begin in a row of the frame; grid.rows where there is none.
    static size_t row_at(const PixelGrid& grid, size_t first) {
        if (first < grid.first_row || (first - grid.first_row) % grid.row_step != 0) {
            return grid.rows;
        }
        return std::min((first - grid.first_row) / grid.row_step, grid.rows);
    }
};

// Tasks for correlations that pass over an image from the top down: an image, one of some blocks of
// its channels, and a band of the rows with which windows begin.
struct BandTasks {
    BandTasks(const Correlation& c, size_t blocks, size_t threads);
    size_t count() const { return images * blocks * bands; }
    size_t image(size_t task) const { return task / (blocks * bands); }
    size_t block(size_t task) const { return task / bands % blocks; }
    Range band(size_t task) const {
        const Range own = part(rows.size(), bands, task % bands);
        return {rows.begin + own.begin, rows.begin + own.end};
    }

    size_t images, blocks;
    Range rows;
    size_t bands = 1;
};

// The depth of a window of rows × columns taps over a frame of some columns and channels.
std::vector<GemmSegment> window_segments(size_t rows, size_t columns, const Frame& frame);

void correlate(const KernelTable& k, const Correlation& correlation, int threads);

}  // namespace alexnet::cpu::direct

#endif  // ALEXNET_CPU_DIRECT_CORRELATION_H_
