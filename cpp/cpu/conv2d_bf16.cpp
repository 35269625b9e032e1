// Convolution on bfloat16 operands, as implicit matrix products: rows are outputs, the depth is the
// window, columns are the features of a group (bf16.h has how they are packed).
//
//   frame     where the channels of a group are whole steps of the depth: tiles of A are read from
//             the images with their border of zeros, rounded once. A step is 32 channels of a pixel
//   windows   all others: the windows of some outputs are copied into rows, the whole of them filled
//             up to a step with zeros. A product with what is beside a window could be NaN
//
// The depth goes over blocks of 32 channels, kh, kw and the channels of a block, so that all taps of
// a pixel meet in the L1 cache; where there are no such blocks, over kh, kw and channels.
//
// Threads: a task is a run of outputs with a range of panels. Which rows share a tile depends on the
// shape only, and so do the bits of the result.

#include "bf16.h"
#include "conv2d_axis.h"
#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kWorthATask = 1 << 18;      // multiply-adds
constexpr size_t kTasksAThread = 4;          // wanted, where there are as many
constexpr size_t kL2Share = 4;               // of L2 for the frames that share a panel
constexpr size_t kFrameTiles = 128;          // that share a panel before the next is read
constexpr size_t kWindowElements = 1 << 16;  // of copied windows, which stay in L2
constexpr size_t kLeastRuns = 16;            // of windows, where runs have the least tiles at least
constexpr size_t kLeastTiles = 2, kMostTiles = 16;  // in a run of windows
constexpr double kMostBorder = 4;                   // times an image, its output and the weights
constexpr double kSmallFrame = 1 << 18;             // elements that are always spared

bool has_blocks(const Conv2dShape& s) { return s.group_in() % kBf16Depth == 0; }

Bf16Panels panels_of(const Conv2dShape& s) { return {s.window(), s.group_out()}; }

// Where the weights of tap (kh, kw) and channel c of a group are along the depth.
size_t depth_of(const Conv2dShape& s, size_t kh, size_t kw, size_t c) {
    if (!has_blocks(s)) return (kh * s.kernel_width + kw) * s.group_in() + c;
    const size_t taps = s.kernel_height * s.kernel_width;
    const size_t step = c / kBf16Depth * taps + kh * s.kernel_width + kw;
    return step * kBf16Depth + c % kBf16Depth;
}

// Its inverse, as the row of the weights as they are given: kh, kw, c.
size_t weight_row(const Conv2dShape& s, size_t depth) {
    if (depth >= s.window()) return SIZE_MAX;
    if (!has_blocks(s)) return depth;
    const size_t taps = s.kernel_height * s.kernel_width, step = depth / kBf16Depth;
    const size_t c = step / taps * kBf16Depth + depth % kBf16Depth;
    return step % taps * s.group_in() + c;
}

// What all tasks of a call share.
struct Call {
    const Conv2dShape& s;
    const KernelTable& k;
    Bf16Multiply multiply;
    Bf16Panels panels;  // of one group
    const uint16_t* packed;
    const float* bias;
    bool relu;
    const Bf16Output& y;

    // Tiles by the panels `of` a group. `tiles` say everything of A, and C's rows.
    void multiply_panels(size_t group, Range of, Bf16Block tiles) const {
        for (size_t p = of.begin; p < of.end; ++p) {
            const Range columns = panels[p];
            const size_t first = group * s.group_out() + columns.begin;
            tiles.steps = panels.steps;
            tiles.b = packed + (group * panels.count + p) * panels.panel_size();
            tiles.columns = columns.size();
            tiles.c = y.floats ? y.floats + first : nullptr;
            tiles.c_bits = y.bits ? y.bits + first : nullptr;
            tiles.c_row = s.out_channels;
            tiles.bias = bias ? bias + first : nullptr;
            tiles.relu = relu;
            multiply(tiles);
        }
    }
};

// --- frame ----------------------------------------------------------------------------------------

// The images with their border, as far as windows reach.
struct Frame {
    explicit Frame(const Conv2dShape& s)
        : height((s.out_height - 1) * s.stride_height + s.kernel_height),
          width((s.out_width - 1) * s.stride_width + s.kernel_width) {}

    // In double: it may be beyond 64 bits.
    bool is_mostly_border(const Conv2dShape& s) const {
        const Size elements = Size{s.in_height} * s.in_width * s.in_channels +
                              Size{s.out_height} * s.out_width * s.out_channels + s.weight_size();
        const double size = static_cast<double>(height) * static_cast<double>(width) *
                            static_cast<double>(s.in_channels);
        return size > kMostBorder * static_cast<double>(elements) + kSmallFrame;
    }
    size_t height, width;
};

void round_into_frame(const KernelTable& k, const Conv2dShape& s, const Frame& frame,
                      const Bf16Input& x, uint16_t* images) {
    const size_t row = frame.width * s.in_channels;
    const size_t left = std::min(s.pad_left, frame.width);
    const size_t pixels = std::min(s.in_width, frame.width - left);
    parallel_for(s.batch * frame.height, ceil_div(kWorthATask, row), [&](size_t r, size_t end) {
        for (; r < end; ++r) {
            const size_t n = r / frame.height, h = r % frame.height - s.pad_top;  // may wrap around
            uint16_t* to = images + r * row;
            if (h >= s.in_height) {
                std::fill_n(to, row, uint16_t{0});
                continue;
            }
            std::fill_n(to, left * s.in_channels, uint16_t{0});
            copy_as_bf16(k, x, s.input_pixel(n, h, 0), pixels * s.in_channels,
                         to + left * s.in_channels);
            std::fill(to + (left + pixels) * s.in_channels, to + row, uint16_t{0});
        }
    });
}

// Runs of outputs that are evenly apart in the frame: the rows of outputs, or, where an image has
// one output only, that of all images.
struct Runs {
    Runs(const Conv2dShape& shape, const Frame& frame)
        : s(shape),
          row(frame.width * s.in_channels),
          image(frame.height * row),
          single(s.out_height == 1 && s.out_width == 1),
          count(single ? 1 : s.batch * s.out_height),
          length(single ? s.batch : s.out_width),
          a_row(single ? image : s.stride_width * s.in_channels) {}
    size_t a(size_t run) const {
        return run / s.out_height * image + run % s.out_height * s.stride_height * row;
    }
    size_t c(size_t run) const { return run * s.out_width * s.out_channels; }

    const Conv2dShape& s;
    size_t row, image;
    bool single;
    size_t count, length, a_row;
};

void convolve_frame(const Call& call, const Frame& frame, const Bf16Input& x) {
    const Conv2dShape& s = call.s;
    const Runs runs(s, frame);
    uint16_t* images =
        as_bf16(scratch(Slot::kPaddedImages, bf16_floats(Size{s.batch} * runs.image)));
    round_into_frame(call.k, s, frame, x, images);
    std::vector<size_t> offsets(call.panels.steps);
    for (size_t kh = 0; kh < s.kernel_height; ++kh) {
        for (size_t kw = 0; kw < s.kernel_width; ++kw) {
            for (size_t c = 0; c < s.group_in(); c += kBf16Depth) {
                offsets[depth_of(s, kh, kw, c) / kBf16Depth] =
                    kh * runs.row + kw * s.in_channels + c;
            }
        }
    }

    const int threads = num_threads();
    const Bf16Tiling tiling(runs.length);
    const size_t work = runs.count * runs.length * s.window() * s.out_channels;
    const size_t wanted =
        std::min(static_cast<size_t>(threads) * kTasksAThread, ceil_div(work, kWorthATask));
    // Whole images before panels, of which each is read again for every task that has it.
    const size_t image_parts = std::min(wanted, ceil_div(runs.count, s.out_height));
    const size_t all_panels = s.groups * call.panels.count;
    const size_t panel_parts = std::min(all_panels, ceil_div(wanted, image_parts));
    const size_t run_parts =
        std::min(runs.count, std::max(image_parts, ceil_div(wanted, panel_parts)));
    const size_t run_bytes = runs.row * s.stride_height * sizeof(uint16_t);
    const size_t runs_at_once = std::max<size_t>(
        std::min(kFrameTiles / tiling.count, l2_cache_bytes() / kL2Share / run_bytes), 1);
    const Slices memory(
        Slot::kThreadOperand, static_cast<size_t>(threads),
        padded(Size{runs_at_once} * tiling.count * (sizeof(Bf16Tile) / sizeof(float))));
    parallel_tasks(threads, run_parts * panel_parts, [&](size_t task, size_t thread) {
        auto* tiles = reinterpret_cast<Bf16Tile*>(memory[thread]);
        const Range own = part(runs.count, run_parts, task / panel_parts);
        const Range own_panels = part(all_panels, panel_parts, task % panel_parts);
        for (size_t begin = own.begin; begin < own.end; begin += runs_at_once) {
            const size_t end = std::min(begin + runs_at_once, own.end);
            for (size_t p = own_panels.begin; p < own_panels.end;) {
                const size_t group = p / call.panels.count, first = group * call.panels.count;
                const size_t last = std::min(first + call.panels.count, own_panels.end);
                size_t count = 0;
                for (size_t run = begin; run < end; ++run) {
                    for (size_t t = 0; t < tiling.count; ++t) {
                        tiles[count++] = {.a = images + runs.a(run) + tiling[t] * runs.a_row +
                                               group * s.group_in(),
                                          .c = runs.c(run) + tiling[t] * s.out_channels};
                    }
                }
                call.multiply_panels(group, {p - first, last - first},
                                     {.rows = tiling.rows,
                                      .a_row = runs.a_row,
                                      .offsets = offsets.data(),
                                      .tiles = tiles,
                                      .tile_count = count});
                p = last;
            }
        }
    });
}

// --- windows --------------------------------------------------------------------------------------

// The window of one output, of one group, as a row of the depth. `row` was zeros beyond the window.
void copy_window(const KernelTable& k, const Conv2dShape& s, const uint16_t* x, size_t output,
                 size_t group, uint16_t* row) {
    const ConvAxis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
    const size_t ow = output % s.out_width, oh = output / s.out_width % s.out_height;
    const uint16_t* image = x + s.input_pixel(output / s.out_width / s.out_height, 0, 0);
    const Range kh = vertical.taps(oh), kw = horizontal.taps(ow);
    if (kh.size() < s.kernel_height || kw.size() < s.kernel_width) {
        std::fill_n(row, s.window(), uint16_t{0});
        if (kh.size() == 0 || kw.size() == 0) return;
    }
    const size_t channels = s.group_in(), image_row = s.in_width * s.in_channels;
    const size_t ih = oh * s.stride_height + kh.begin - s.pad_top;
    const size_t iw = ow * s.stride_width + kw.begin - s.pad_left;
    const uint16_t* from = image + s.input_pixel(0, ih, iw) + group * channels;
    const auto copy = [&](size_t tap, size_t c, size_t n) {
        k.bf16->copy_runs(kh.size(), n, from + (tap - kw.begin) * s.in_channels + c, image_row,
                          row + depth_of(s, kh.begin, tap, c),
                          depth_of(s, 1, 0, 0) - depth_of(s, 0, 0, 0));
    };
    if (s.groups == 1 && !has_blocks(s)) {  // the taps of a row are one run
        copy(kw.begin, 0, kw.size() * channels);
        return;
    }
    const size_t run = has_blocks(s) ? kBf16Depth : channels;
    for (size_t tap = kw.begin; tap < kw.end; ++tap) {
        for (size_t c = 0; c < channels; c += run) copy(tap, c, run);
    }
}

void convolve_windows(const Call& call, const Bf16Input& x) {
    const Conv2dShape& s = call.s;
    const uint16_t* rounded = x.bits;
    if (x.floats) {
        uint16_t* all = as_bf16(scratch(Slot::kPaddedImages, bf16_floats(s.input_size())));
        parallel_for(s.input_size(), kWorthATask, [&](size_t begin, size_t end) {
            call.k.bf16->round(end - begin, x.floats + begin, all + begin);
        });
        rounded = all;
    }
    std::vector<size_t> offsets(call.panels.steps);
    for (size_t step = 0; step < offsets.size(); ++step) offsets[step] = step * kBf16Depth;

    const size_t outputs = Size{s.batch} * s.out_height * s.out_width;
    const size_t row = call.panels.depth() + kBf16RowGap;
    const size_t fitting = std::max<size_t>(kWindowElements / row, 1);
    const size_t even = ceil_div(outputs, kLeastRuns);
    const size_t run_length =
        std::clamp(std::min(fitting, even) / kBf16Rows, kLeastTiles, kMostTiles) * kBf16Rows;
    const size_t run_count = ceil_div(outputs, run_length);
    const int threads = useful_threads(outputs * s.window(), kWorthATask / 32);
    const Slices memory(Slot::kThreadMemory, static_cast<size_t>(threads),
                        bf16_floats(Size{run_length} * row));
    parallel_tasks(threads, run_count, [&](size_t task, size_t thread) {
        uint16_t* rows = as_bf16(memory[thread]);
        const size_t begin = task * run_length, end = std::min(begin + run_length, outputs);
        const Bf16Tiling tiling(end - begin);
        Bf16Tile tiles[kMostTiles];
        for (size_t t = 0; t < tiling.count; ++t) {
            tiles[t] = {.a = rows + tiling[t] * row, .c = (begin + tiling[t]) * s.out_channels};
        }
        for (size_t i = 0; i < end - begin; ++i) {
            std::fill(rows + i * row + s.window(), rows + (i + 1) * row, uint16_t{0});
        }
        for (size_t group = 0; group < s.groups; ++group) {
            for (size_t i = 0; i < end - begin; ++i) {
                copy_window(call.k, s, rounded, begin + i, group, rows + i * row);
            }
            call.multiply_panels(group, {0, call.panels.count},
                                 {.rows = tiling.rows,
                                  .a_row = row,
                                  .offsets = offsets.data(),
                                  .tiles = tiles,
                                  .tile_count = tiling.count});
        }
    });
}

}  // namespace

Size packed_conv2d_bf16_size(const Conv2dShape& s) { return panels_of(s).size() * s.groups; }

void pack_conv2d_bf16(const Conv2dShape& s, const Bf16Input& weight, uint16_t* packed) {
    const KernelTable& k = kernels();
    const Bf16Panels panels = panels_of(s);
    const size_t panel_size = panels.panel_size();
    const auto row_of = [&](size_t depth) { return weight_row(s, depth); };
    parallel_for(
        s.groups * panels.count, ceil_div(kWorthATask, panel_size), [&](size_t begin, size_t end) {
            for (size_t p = begin; p < end; ++p) {
                pack_bf16_panel(k, panels, panels[p % panels.count], weight, s.out_channels,
                                p / panels.count * s.group_out(), row_of, packed + p * panel_size);
            }
        });
}

void conv2d_bf16(const Conv2dShape& s, const Bf16Input& x, const uint16_t* packed,
                 const float* bias, bool relu, const Bf16Output& y) {
    if (s.batch == 0) return;
    const Call call{s, kernels(), bf16_multiply(), panels_of(s), packed, bias, relu, y};
    const Frame frame(s);
    if (has_blocks(s) && !frame.is_mostly_border(s)) {
        convolve_frame(call, frame, x);
    } else {
        convolve_windows(call, x);
    }
}

}  // namespace alexnet::cpu
