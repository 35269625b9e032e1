// With one to eight channels to compute, most lanes of a vector over channels would be idle. Rows of
// the frame are transposed, so that each channel is a line of neighbouring pixels, and the register
// tile of gemm.h changes sides: the weights are A, and the lines are B, read where they lie.
//
//     frame, transposed               C: channels × pixels of a row
//
//     row 0  channel 0  [p p p p ]    tap (0, 0) = the lines of row 0 from pixel 0 on
//            channel 1  [p p p p ]    tap (0, 1) = the same from pixel 1 on
//     row 1  channel 0  [p p p p ]    tap (1, 0) = those of row 1 from pixel 0 on
//            channel 1  [p p p p ]    ...
//
// The lines of all rows of a window follow each other: each column of the window is one product,
// whose depth is the window's rows times the channels. C is transposed on its way to y.
//
// Cost: 2 · outputs · window FLOP, and the transposition of the input and the output.
// Threads: an image, or a band of its rows, from the top down.
// Numerics: one chain of FMAs for each output, column after column of the window; the same for every
// number of threads.

#include "planar_correlation.h"

#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu::planar {
namespace {

using direct::Correlation, direct::PixelGrid;

constexpr size_t kWindows = 4;  // of rows: as many are kept at once

// Floats of a line: a vector that begins with the last pixel may read beyond it.
size_t line_size(const KernelTable& k, size_t pixels) { return padded(pixels + k.lanes); }

// The rows of an image's frame, transposed, some at a time.
class Lines {
  public:
    Lines(const KernelTable& k, const Frame& frame, size_t capacity, const float* image,
          float* memory)
        : k_(k),
          frame_(frame),
          line_(line_size(k, frame.columns)),
          row_size_(frame.channels * line_),
          capacity_(capacity),
          image_(image),
          memory_(memory) {}

    static Size memory_size(const KernelTable& k, const Frame& frame, size_t capacity) {
        return Size{capacity} * frame.channels * line_size(k, frame.columns);
    }
    size_t line() const { return line_; }

    // Some rows of the frame, one after the other: at most as many as the capacity, and none before
    // the first of the call before.
    const float* rows(Range wanted) {
        next_ = std::max(next_, wanted.begin);
        if (wanted.end > start_ + capacity_) {
            const float* kept = memory_ + (wanted.begin - start_) * row_size_;
            std::copy(kept, kept + (next_ - wanted.begin) * row_size_, memory_);
            start_ = wanted.begin;
        }
        for (; next_ < wanted.end; ++next_) fill(next_, memory_ + (next_ - start_) * row_size_);
        return memory_ + (wanted.begin - start_) * row_size_;
    }

  private:
    void fill(size_t row, float* target) const {
        const Frame& f = frame_;
        const bool inside = row >= f.top && row - f.top < f.height;
        const size_t begin = inside ? std::min(f.left, f.columns) : f.columns;
        const size_t end = inside ? std::min(f.left + f.width, f.columns) : f.columns;
        for (size_t c = 0; c < f.channels; ++c) {
            std::fill(target + c * line_, target + c * line_ + begin, 0.0f);
            std::fill(target + c * line_ + end, target + c * line_ + f.columns, 0.0f);
        }
        if (begin == end) return;
        k_.transpose(end - begin, f.channels, image_ + (row - f.top) * f.width * f.channels,
                     f.channels, target + begin, line_);
    }

    const KernelTable& k_;
    const Frame& frame_;
    const size_t line_, row_size_, capacity_;
    const float* const image_;
    float* const memory_;
    size_t start_ = 0, next_ = 0;  // rows of the frame: the first in memory, and behind the last
};

// One row of a grid: sums are channels × pixels.
void multiply_row(const KernelTable& k, const Correlation& c, const PixelGrid& grid, size_t line,
                  const float* lines, GemmSegment* segments, float* sums, float* y) {
    const size_t channels = c.frame.channels, width = c.panels.width;
    const size_t window_columns = grid.total_depth / (grid.window_rows * channels);
    const size_t sum_row = line_size(k, grid.columns);
    for (size_t i = 0; i < grid.window_rows; ++i) {
        segments[i] = {.offset = i * window_columns * channels * width, .depth = channels};
    }
    const Panels pixels(k, grid.columns);
    for (size_t p = 0; p < pixels.count; ++p) {
        for (size_t j = 0; j < window_columns; ++j) {
            const Product product{.rows = c.panels.columns,
                                  .a = grid.packed + j * channels * width,
                                  .row_stride = 1,
                                  .depth_stride = width,
                                  .width = line,
                                  .c = sums,
                                  .c_row = sum_row};
            multiply_panel(
                k, product, {.segments = segments, .segment_count = grid.window_rows, .begin = 0},
                lines + grid.first_column + j + pixels[p].begin, pixels[p], {.resume = j > 0});
        }
    }
    k.transpose(c.panels.columns, grid.columns, sums, sum_row, y, grid.pixel_stride);
}

}  // namespace

bool suits(const KernelTable& k, const Correlation& c) {
    if (c.groups > 1 || c.panels.count > 1) return false;
    const size_t channels = c.panels.columns;
    for (const PixelGrid& grid : c.grids) {
        // Vectors of sums a row: channels times those of the pixels, or one for each pixel.
        const size_t planar = channels * ceil_div(grid.columns, k.lanes);
        const size_t direct = grid.columns * ceil_div(channels, k.lanes);
        if (3 * planar > 2 * direct || grid.total_depth > kDepthBlock) return false;
    }
    return true;
}

void correlate(const KernelTable& k, const Correlation& c, int threads) {
    const direct::BandTasks tasks(c, 1, static_cast<size_t>(threads));
    const size_t window_rows = c.most_window_rows(), capacity = kWindows * window_rows;
    size_t most_columns = 0;
    for (const PixelGrid& grid : c.grids) most_columns = std::max(most_columns, grid.columns);
    const Size lines_size = padded(Lines::memory_size(k, c.frame, capacity));
    const Size sums_size = padded(Size{c.panels.columns} * line_size(k, most_columns));
    const size_t team = std::min(static_cast<size_t>(threads), tasks.count());
    const Slices memory(Slot::kThreadMemory, team, lines_size + sums_size);
    std::vector<GemmSegment> segments(Size{team} * window_rows);
    parallel_tasks(threads, tasks.count(), [&](size_t task, size_t thread) {
        const Frame& f = c.frame;
        const size_t n = tasks.image(task);
        const Range band = tasks.band(task);
        Lines lines(k, f, capacity, c.x + n * f.height * f.width * f.channels, memory[thread]);
        for (size_t first = band.begin; first < band.end; ++first) {
            for (const PixelGrid& grid : c.grids) {
                const size_t r = Correlation::row_at(grid, first);
                if (r == grid.rows) continue;
                multiply_row(k, c, grid, lines.line(),
                             lines.rows({first, first + grid.window_rows}),
                             &segments[thread * window_rows], memory[thread] + lines_size,
                             grid.y + n * grid.image_stride + r * grid.row_stride);
            }
        }
    });
}

}  // namespace alexnet::cpu::planar
