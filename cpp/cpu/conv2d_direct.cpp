// Convolution as an implicit matrix product: the register tile (microkernels/gemm.cpp) reads the
// image where it lies. Neighbouring pixels of an output row are the rows of a tile; one row of the
// window, kernel_width · channels floats, is contiguous in the image and the same distance apart
// for all of them, so it is one segment of the summation index. Only the weights are packed, and
// images that need a border of zeros are copied into a frame, a few at a time.
//
// forward: y = correlation of x with the weights.
// backward_input: with stride 1, dx is the correlation of dy with the weights flipped by 180° and
//   transposed. With stride s, the pixels of dx with the same (ih + pad) mod s see only every s-th
//   tap of the window: s² such phases, each a correlation of stride 1 of its own.
// backward_weight: conv2d_direct_weight.cpp.
//
// Cost: 2 · outputs · window FLOP (backward_input the same): bound by the FMA units.
// Threads: tasks own images, or bands of rows or panels of channels where images are few.
// Numerics: chains of at most kDepthBlock FMAs, summed in order; the same for every partition.

#include <atomic>
#include <vector>

#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "window_copy.h"

namespace alexnet::cpu::direct {
namespace {

// Output pixels that share one set of taps: all of them in forward, a phase in backward_input.
// Pixel (r, q) of image n is written at y + n*image + r*row + q*pixel; its window begins at
// (first_row + r*row_step, first_column + q*column_step) of the frame.
struct Grid {
    size_t rows, columns;
    float* y;
    size_t image, row, pixel;
    size_t first_row, first_column, row_step, column_step;
    size_t window_rows;
    DepthBlocks depth;
    size_t total_depth;
    const float* packed;  // panels of every group, one group after the other
};

struct Correlation {
    size_t batch, groups;
    const float* x;
    Frame frame;
    size_t group_in;
    Panels panels;  // of a group's output channels
    const float* bias;
    bool relu;
    std::vector<Grid> grids;
};

// Segments of a window of rows × columns taps over a frame of the given width and channels.
std::vector<GemmSegment> window_segments(size_t rows, size_t columns, size_t frame_columns,
                                         size_t channels, size_t group_in) {
    std::vector<GemmSegment> segments;
    for (size_t r = 0; r < rows; ++r) {
        const size_t row = r * frame_columns * channels;
        if (group_in == channels) {
            segments.push_back({row, columns * channels});
        } else {
            for (size_t q = 0; q < columns; ++q) segments.push_back({row + q * channels, group_in});
        }
    }
    return segments;
}

// How the work is cut into tasks. Enough images a task that a panel of weights, once in L2, serves
// some hundred rows; bands of rows or panels of columns where there are too few images.
struct Tasks {
    Tasks(const Correlation& c, size_t threads) {
        constexpr size_t kRowsATask = 512;
        constexpr size_t kMostFloats = 1 << 20;  // of frames, but for one: they stay in L2
        size_t pixels = 0;
        for (const Grid& grid : c.grids) pixels += grid.rows * grid.columns;
        const size_t enough = std::min(ceil_div(kRowsATask, std::max<size_t>(pixels, 1)),
                                       kMostFloats / c.frame.size());
        images = std::clamp<size_t>(enough, 1, ceil_div(c.batch, threads));
        image_groups = ceil_div(c.batch, images);
        if (image_groups < threads) {
            const size_t wanted = ceil_div(threads, image_groups);
            const size_t weights = c.grids[0].total_depth * c.panels.columns;
            const size_t most_rows = std::max<size_t>(c.grids[0].rows, 1);
            if (weights > c.frame.size() / c.groups) {
                column_splits = std::min(wanted, c.panels.count);
                bands = std::min(ceil_div(wanted, column_splits), most_rows);
            } else {
                bands = std::min(2 * wanted, most_rows);
                column_splits = std::min(ceil_div(wanted, bands), c.panels.count);
            }
        }
    }
    size_t count() const { return image_groups * bands * column_splits; }

    size_t images, image_groups, bands = 1, column_splits = 1;
};

// One task: images n, rows and panels of every grid and group.
class Worker {
  public:
    Worker(const KernelTable& k, const Correlation& c, float* frames)
        : k_(k), c_(c), frames_(frames), pixel_(c.frame.channels) {}

    void run(Range images, size_t bands, size_t band, Range panels) {
        frame_images(images, bands, band);
        for (size_t group = 0; group < c_.groups; ++group) {
            for (const Grid& grid : c_.grids) {
                const Range rows = part(grid.rows, bands, band);
                for (size_t p = panels.begin; p < panels.end; ++p) {
                    panel(grid, group, p, images, rows);
                }
            }
        }
        k_.stream_fence();
    }

  private:
    void frame_images(Range images, size_t bands, size_t band) {
        const Frame& f = c_.frame;
        const size_t size = f.height * f.width * f.channels;
        if (f.is_image()) {
            source_ = c_.x + images.begin * size;
            source_image_ = size;
            source_row_ = 0;
            return;
        }
        Range needed{f.rows, 0};
        for (const Grid& grid : c_.grids) {
            const Range rows = part(grid.rows, bands, band);
            if (rows.size() == 0) continue;
            const size_t begin = grid.first_row + rows.begin * grid.row_step;
            const size_t end = grid.first_row + (rows.end - 1) * grid.row_step + grid.window_rows;
            needed = {std::min(needed.begin, begin), std::max(needed.end, end)};
        }
        if (needed.end < needed.begin) needed = {0, 0};
        source_ = frames_;
        source_image_ = needed.size() * f.columns * f.channels;
        source_row_ = needed.begin;
        for (size_t i = 0; i < images.size(); ++i) {
            copy_frame_rows(k_, f, c_.x + (images.begin + i) * size, needed.begin, needed.end,
                            frames_ + i * source_image_);
        }
    }

    void panel(const Grid& grid, size_t group, size_t p, Range images, Range rows) {
        const Range columns = c_.panels[p];
        const float* packed =
            grid.packed + (group * c_.panels.count + p) * c_.panels.width * grid.total_depth;
        const size_t channel = group * c_.panels.columns + columns.begin;
        const auto& blocks = grid.depth.blocks();
        for (size_t b = 0; b < blocks.size(); ++b) {
            const bool last = b + 1 == blocks.size();
            GemmEpilogue epilogue{b > 0, last && c_.bias ? c_.bias + channel : nullptr,
                                  last && c_.relu};
            for (size_t n = images.begin; n < images.end; ++n) {
                for (size_t r = rows.begin; r < rows.end; ++r) {
                    const size_t row = grid.first_row + r * grid.row_step - source_row_;
                    const float* a = source_ + (n - images.begin) * source_image_ +
                                     (row * c_.frame.columns + grid.first_column) * pixel_ +
                                     group * c_.group_in;
                    float* y = grid.y + n * grid.image + r * grid.row + group * c_.panels.columns;
                    const Product product{
                        grid.columns, a, grid.column_step * pixel_, 1, c_.panels.width, y,
                        grid.pixel};
                    epilogue.stream = last && fills_lines(y, grid.pixel, columns.size());
                    multiply_panel(k_, product, blocks[b], packed, columns, epilogue);
                }
            }
        }
    }

    const KernelTable& k_;
    const Correlation& c_;
    float* frames_;
    const size_t pixel_;
    const float* source_ = nullptr;
    size_t source_image_ = 0, source_row_ = 0;
};

void correlate(const KernelTable& k, const Correlation& c, int threads) {
    const Tasks tasks(c, static_cast<size_t>(threads));
    const Slices frames(Slot::kThreadMemory, std::min(static_cast<size_t>(threads), tasks.count()),
                        c.frame.is_image() ? Size{0} : tasks.images * c.frame.size());
    parallel_tasks(threads, tasks.count(), [&](size_t task, size_t thread) {
        const size_t split = task % tasks.column_splits;
        const size_t band = task / tasks.column_splits % tasks.bands;
        const size_t first = task / (tasks.column_splits * tasks.bands) * tasks.images;
        Worker(k, c, frames[thread])
            .run({first, std::min(first + tasks.images, c.batch)}, tasks.bands, band,
                 part(c.panels.count, tasks.column_splits, split));
    });
}

}  // namespace

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t depth = s.window();
    const Panels panels(k, s.group_out());
    float* packed = scratch(Slot::kPackedPanels, s.groups * panels.size(depth));
    parallel_tasks(threads, s.groups * panels.count, [&](size_t i, size_t) {
        const Range columns = panels[i % panels.count];
        pack_panel(k, depth, columns.size(),
                   weight + i / panels.count * s.group_out() + columns.begin, s.out_channels,
                   packed + i * panels.width * depth, panels.width);
    });

    const Frame frame = frame_for(s.in_height, s.in_width, s.in_channels, s.pad_top, s.pad_left,
                                  (s.out_height - 1) * s.stride_height + s.kernel_height,
                                  (s.out_width - 1) * s.stride_width + s.kernel_width);
    Correlation c{s.batch, s.groups, x, frame, s.group_in(), panels, bias, relu, {}};
    c.grids.push_back({s.out_height, s.out_width, y, s.output_pixel(1, 0, 0),
                       s.output_pixel(0, 1, 0), s.out_channels, 0, 0, s.stride_height,
                       s.stride_width, s.kernel_height,
                       DepthBlocks(window_segments(s.kernel_height, s.kernel_width, frame.columns,
                                                   s.in_channels, s.group_in())),
                       depth, packed});
    correlate(k, c, threads);
}

namespace {

// The pixels of one axis of dx that see the taps phase, phase + stride, ...
struct Phase {
    Phase(size_t phase, size_t stride, size_t kernel, size_t pad, size_t in_size)
        : tap(phase), taps(ceil_div(kernel - phase, stride)) {
        // Input position stride*a + phase - pad, for a = begin .. end, lies in the image.
        begin = pad > phase ? ceil_div(pad - phase, stride) : 0;
        end = in_size + pad > phase ? (in_size - 1 + pad - phase) / stride + 1 : 0;
        count = end > begin ? end - begin : 0;
        position = stride * begin + phase - pad;
    }
    size_t tap, taps, begin, end, count, position;
};

// The phases that have both taps and pixels.
std::vector<Phase> phases_of(size_t stride, size_t kernel, size_t pad, size_t in_size) {
    std::vector<Phase> phases;
    for (size_t p = 0; p < std::min(stride, kernel); ++p) {
        const Phase phase(p, stride, kernel, pad, in_size);
        if (phase.count > 0) phases.push_back(phase);
    }
    return phases;
}

// Pixels of the axis that some phase has.
size_t pixels_of(const std::vector<Phase>& phases) {
    size_t count = 0;
    for (const Phase& phase : phases) count += phase.count;
    return count;
}

// How far the frame around dy reaches beyond it, before the first and after the last element.
struct Border {
    Border(const std::vector<Phase>& phases, size_t out_size) {
        for (const Phase& p : phases) {
            before = std::max(before, p.taps - 1 > p.begin ? p.taps - 1 - p.begin : 0);
            after = std::max(after, p.end > out_size ? p.end - out_size : 0);
        }
    }
    size_t before = 0, after = 0;
};

// Panels of the taps of a phase in the order in which they meet dy: from the last to the first.
void pack_phase(const KernelTable& k, const Conv2dShape& s, const Phase& h, const Phase& w,
                const float* weight, size_t group, Range columns, float* panel, size_t width) {
    for (size_t i = h.taps; i-- > 0;) {
        for (size_t j = w.taps; j-- > 0;) {
            const size_t kh = h.tap + i * s.stride_height, kw = w.tap + j * s.stride_width;
            const size_t row = (kh * s.kernel_width + kw) * s.group_in() + columns.begin;
            pack_panel_transposed(k, s.group_out(), columns.size(),
                                  weight + row * s.out_channels + group * s.group_out(),
                                  s.out_channels, panel, width);
            panel += s.group_out() * width;
        }
    }
}

}  // namespace

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const auto rows = phases_of(s.stride_height, s.kernel_height, s.pad_top, s.in_height);
    const auto columns = phases_of(s.stride_width, s.kernel_width, s.pad_left, s.in_width);
    const Border vertical(rows, s.out_height), horizontal(columns, s.out_width);
    const Frame frame =
        frame_for(s.out_height, s.out_width, s.out_channels, vertical.before, horizontal.before,
                  vertical.before + s.out_height + vertical.after,
                  horizontal.before + s.out_width + horizontal.after);
    const Panels panels(k, s.group_in());
    Correlation c{s.batch, s.groups, dy, frame, s.group_out(), panels, nullptr, false, {}};

    float* packed = scratch(Slot::kPackedPanels, panels.size(s.group_out()) * s.kernel_height *
                                                     s.kernel_width * s.groups);
    const float* next_packed = packed;
    for (const Phase& h : rows) {
        for (const Phase& w : columns) {
            const size_t depth = h.taps * w.taps * s.group_out();
            c.grids.push_back({h.count, w.count, dx + s.input_pixel(0, h.position, w.position),
                               s.input_pixel(1, 0, 0), s.stride_height * s.input_pixel(0, 1, 0),
                               s.stride_width * s.in_channels,
                               h.begin + vertical.before - (h.taps - 1),
                               w.begin + horizontal.before - (w.taps - 1), 1, 1, h.taps,
                               DepthBlocks(window_segments(h.taps, w.taps, frame.columns,
                                                           s.out_channels, s.group_out())),
                               depth, next_packed});
            next_packed += s.groups * panels.size(depth);
        }
    }
    const size_t grid_panels = s.groups * panels.count;
    std::atomic<bool> finite = true;
    parallel_tasks(threads, c.grids.size() * grid_panels, [&](size_t task, size_t) {
        const size_t g = task / grid_panels, i = task % grid_panels;
        const size_t floats = panels.width * c.grids[g].total_depth;
        float* panel = packed + static_cast<size_t>(c.grids[g].packed - packed) + i * floats;
        pack_phase(k, s, rows[g / columns.size()], columns[g % columns.size()], weight,
                   i / panels.count, panels[i % panels.count], panel, panels.width);
        if (!k.all_finite(floats, panel)) finite = false;
    });
    // The zeros around dy stand for outputs that do not exist, so no weight may make more of them.
    if (!finite) return im2col::backward_input(s, dy, weight, dx);
    if (pixels_of(rows) < s.in_height || pixels_of(columns) < s.in_width) {
        // The stride skips some pixels: no output read them.
        parallel_for(s.input_size(), size_t{1} << 16,
                     [&](size_t begin, size_t end) { std::fill(dx + begin, dx + end, 0.0f); });
    }
    if (!c.grids.empty()) correlate(k, c, threads);
}

}  // namespace alexnet::cpu::direct
