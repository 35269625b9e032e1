// How a correlation is cut into tasks, and what a task does; direct_correlation.h has the drawing
// of the operands.
//
//     many images                   few images, small weights     few images, large weights
//
//     task 0 | task 1 | task 2      task 0 | bands of rows        task 0 | panels of channels
//     images | images | images      -------| of one image         -------| of one image
//                                   task 1 |                      task 1 |
//
// Loops (docs/kernels/gemm.md), outermost first; loops in parentheses are shared by the threads:
//   (ic: images, bands of rows  jc: ranges of panels)  jr  pc: blocks of the depth
//   ic: rows of pixels  ir

#include "direct_correlation.h"

#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu::direct {
namespace {

// Enough images a task that a panel of weights, once in L2, serves some hundred rows of A; bands of
// rows or panels where there are too few images.
struct Tasks {
    Tasks(const Correlation& c, size_t threads) {
        constexpr size_t kRowsPerTask = 512;
        constexpr size_t kMostFloats = 1 << 20;  // of frames, but for one: they stay in L2
        size_t pixels = 0;
        for (const PixelGrid& grid : c.grids) pixels += grid.rows * grid.columns;
        const size_t enough = std::min(ceil_div(kRowsPerTask, std::max<size_t>(pixels, 1)),
                                       kMostFloats / (c.frame.size() * c.groups));
        images = std::clamp<size_t>(enough, 1, ceil_div(c.batch, threads));
        image_blocks = ceil_div(c.batch, images);
        if (image_blocks < threads) {
            const size_t wanted = ceil_div(threads, image_blocks);
            const size_t weights = c.grids[0].total_depth * c.panels.columns;
            const size_t most_rows = std::max<size_t>(c.grids[0].rows, 1);
            if (weights > c.frame.size()) {
                panel_ranges = std::min(wanted, c.panels.count);
                bands = std::min(ceil_div(wanted, panel_ranges), most_rows);
            } else {
                bands = std::min(2 * wanted, most_rows);
                panel_ranges = std::min(ceil_div(wanted, bands), c.panels.count);
            }
        }
    }
    size_t count() const { return image_blocks * bands * panel_ranges; }

    size_t images;  // of a block
    size_t image_blocks, bands = 1, panel_ranges = 1;
};

// One task: some images, a band of the rows and some panels of every grid and group.
class Task {
  public:
    // `frames` is for frames of these images where they are copied.
    Task(const KernelTable& k, const Correlation& c, float* frames, Range images, size_t bands,
         size_t band)
        : k_(k), c_(c), images_(images), bands_(bands), band_(band) {
        find_source(frames);
    }

    void run(Range panels) const {
        for (size_t group = 0; group < c_.groups; ++group) {
            for (const PixelGrid& grid : c_.grids) {
                for (size_t p = panels.begin; p < panels.end; ++p) multiply(grid, group, p);
            }
        }
        k_.stream_fence();
    }

  private:
    Range rows_of(const PixelGrid& grid) const { return part(grid.rows, bands_, band_); }

    // Where the frames begin: in x, or copied with their border, the rows that the band sees.
    void find_source(float* frames) {
        const Frame& f = c_.frame;
        const size_t size = f.height * f.width * f.pixel;
        if (f.is_image()) {
            source_ = c_.x + images_.begin * size;
            source_image_ = size;
            return;
        }
        Range needed{f.rows, 0};
        for (const PixelGrid& grid : c_.grids) {
            const Range rows = rows_of(grid);
            if (rows.size() == 0) continue;
            const size_t begin = grid.first_row + rows.begin * grid.row_step;
            const size_t end = grid.first_row + (rows.end - 1) * grid.row_step + grid.window_rows;
            needed = {std::min(needed.begin, begin), std::max(needed.end, end)};
        }
        if (needed.end < needed.begin) needed = {0, 0};
        source_ = frames;
        source_group_ = needed.size() * f.columns * f.channels;
        source_image_ = c_.groups * source_group_;
        source_row_ = needed.begin;
        for (size_t i = 0; i < images_.size(); ++i) {
            copy_group_rows(k_, f, c_.x + (images_.begin + i) * size, needed.begin, needed.end,
                            frames + i * source_image_, source_group_);
        }
    }

    // One panel of output channels at all pixels of the task.
    void multiply(const PixelGrid& grid, size_t group, size_t p) const {
        const Range columns = c_.panels[p], rows = rows_of(grid);
        const float* packed =
            grid.packed + (group * c_.panels.count + p) * c_.panels.width * grid.total_depth;
        const size_t channel = group * c_.panels.columns + columns.begin;
        const auto& blocks = grid.depth.blocks();
        for (size_t b = 0; b < blocks.size(); ++b) {
            const bool last = b + 1 == blocks.size();
            GemmEpilogue epilogue{.accumulate = b > 0,
                                  .bias = last && c_.bias ? c_.bias + channel : nullptr,
                                  .relu = last && c_.relu};
            for (size_t n = images_.begin; n < images_.end; ++n) {
                for (size_t r = rows.begin; r < rows.end; ++r) {
                    const size_t row = grid.first_row + r * grid.row_step - source_row_;
                    const float* a =
                        source_ + (n - images_.begin) * source_image_ + group * source_group_ +
                        (row * c_.frame.columns + grid.first_column) * c_.frame.channels;
                    float* y = grid.y + n * grid.image_stride + r * grid.row_stride +
                               group * c_.panels.columns;
                    const Product product{.rows = grid.columns,
                                          .a = a,
                                          .row_stride = grid.column_step * c_.frame.channels,
                                          .depth_stride = 1,
                                          .width = c_.panels.width,
                                          .c = y,
                                          .c_row = grid.pixel_stride};
                    epilogue.stream = last && fills_lines(y, grid.pixel_stride, columns.size());
                    multiply_panel(k_, product, blocks[b], packed, columns, epilogue);
                }
            }
        }
    }

    const KernelTable& k_;
    const Correlation& c_;
    const Range images_;
    const size_t bands_, band_;
    const float* source_ = nullptr;
    size_t source_group_ = 0;  // floats of a frame
    size_t source_image_ = 0;  // of those of an image
    size_t source_row_ = 0;    // of the frame, with which source_ begins
};

}  // namespace

Range Correlation::first_rows() const {
    Range all{frame.rows, 0};
    for (const PixelGrid& grid : grids) {
        if (grid.rows == 0) continue;
        all.begin = std::min(all.begin, grid.first_row);
        all.end = std::max(all.end, grid.first_row + (grid.rows - 1) * grid.row_step + 1);
    }
    return {std::min(all.begin, all.end), all.end};
}

size_t Correlation::most_window_rows() const {
    size_t most = 1;
    for (const PixelGrid& grid : grids) most = std::max(most, grid.window_rows);
    return most;
}

BandTasks::BandTasks(const Correlation& c, size_t all_blocks, size_t threads)
    : images(c.batch), blocks(all_blocks), rows(c.first_rows()) {
    constexpr size_t kTasksAThread = 4;
    if (threads == 1) return;
    // Each band prepares the rows that its first windows share with the band before once more.
    const size_t most = std::max<size_t>(rows.size() / (2 * c.most_window_rows()), 1);
    bands = std::clamp<size_t>(ceil_div(kTasksAThread * threads, images * blocks), 1, most);
}

std::vector<GemmSegment> window_segments(size_t rows, size_t columns, const Frame& frame) {
    std::vector<GemmSegment> segments;
    for (size_t r = 0; r < rows; ++r) {
        segments.push_back(
            {.offset = r * frame.columns * frame.channels, .depth = columns * frame.channels});
    }
    return segments;
}

void correlate(const KernelTable& k, const Correlation& c, int threads) {
    const Tasks tasks(c, static_cast<size_t>(threads));
    const Slices frames(Slot::kThreadMemory, std::min(static_cast<size_t>(threads), tasks.count()),
                        c.frame.is_image() ? Size{0} : tasks.images * c.groups * c.frame.size());
    parallel_tasks(threads, tasks.count(), [&](size_t i, size_t thread) {
        const size_t range = i % tasks.panel_ranges, band = i / tasks.panel_ranges % tasks.bands;
        const size_t first = i / (tasks.panel_ranges * tasks.bands) * tasks.images;
        const Range images{first, std::min(first + tasks.images, c.batch)};
        const Task task(k, c, frames[thread], images, tasks.bands, band);
        task.run(part(c.panels.count, tasks.panel_ranges, range));
    });
}

}  // namespace alexnet::cpu::direct
