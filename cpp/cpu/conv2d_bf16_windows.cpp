// Convolution on bfloat16 operands by windows that are copied: those of some outputs, into rows of
// the whole depth, filled up to a step with zeros.
//
// Threads: a task is a run of outputs. The copies stay in L2.

#include "conv2d_axis.h"
#include "conv2d_bf16.h"
#include "parallel.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kWindowElements = 1 << 16;         // of copied windows, which stay in L2
constexpr size_t kLeastRuns = 16;                   // where runs have the least tiles at least
constexpr size_t kLeastTiles = 2, kMostTiles = 16;  // in a run

// The window of one output, of one group, as a row of the depth. `row` was zeros beyond the window.
void copy_window(const KernelTable& k, const Bf16Depth& depth, const uint16_t* x, size_t output,
                 size_t group, uint16_t* row) {
    const Conv2dShape& s = depth.s;
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
    // Elements [begin, end) of each row of the window, which follow each other in the image and
    // along the depth.
    const auto copy = [&](size_t begin, size_t end) {
        if (begin >= end) return;
        const size_t tap = begin / channels;
        k.bf16->copy_runs(kh.size(), end - begin,
                          from + (tap - kw.begin) * s.in_channels + begin % channels, image_row,
                          row + depth.of(kh.begin, begin), depth.of(1, begin) - depth.of(0, begin));
    };
    const size_t begin = kw.begin * channels, end = kw.end * channels;
    if (s.groups == 1 && !depth.has_blocks) {
        copy(begin, std::min(end, depth.row_in_place));
        copy(std::max(begin, depth.row_in_place), end);
        return;
    }
    const size_t run = depth.has_blocks ? kBf16Depth : channels;
    for (size_t i = begin; i < end; i += run) copy(i, i + run);
}

}  // namespace

void convolve_bf16_windows(const Bf16Conv2d& call) {
    const Conv2dShape& s = call.s;
    const uint16_t* rounded = call.x.bits;
    if (call.x.floats) {
        uint16_t* all = as_bf16(scratch(Slot::kPaddedImages, bf16_floats(s.input_size())));
        parallel_for(s.input_size(), kBf16WorthATask, [&](size_t begin, size_t end) {
            call.k.bf16->round(end - begin, call.x.floats + begin, all + begin);
        });
        rounded = all;
    }
    std::vector<size_t> offsets(call.panels.steps);
    for (size_t step = 0; step < offsets.size(); ++step) offsets[step] = step * kBf16Depth;

    size_t c_rows[kBf16Rows];
    for (size_t i = 0; i < kBf16Rows; ++i) c_rows[i] = i * s.out_channels;

    const size_t outputs = Size{s.batch} * s.out_height * s.out_width;
    const size_t row = call.panels.depth() + kBf16RowGap;
    const size_t fitting = std::max<size_t>(kWindowElements / row, 1);
    const size_t even = ceil_div(outputs, kLeastRuns);
    const size_t run_length =
        std::clamp(std::min(fitting, even) / kBf16Rows, kLeastTiles, kMostTiles) * kBf16Rows;
    const size_t run_count = ceil_div(outputs, run_length);
    const int threads = useful_threads(outputs * s.window(), kBf16WorthATask / 32);
    const Slices memory(Slot::kThreadMemory, static_cast<size_t>(threads),
                        bf16_floats(Size{run_length} * row));
    parallel_tasks(threads, run_count, [&](size_t task, size_t thread) {
        uint16_t* rows = as_bf16(memory[thread]);
        const size_t begin = task * run_length, end = std::min(begin + run_length, outputs);
        const Bf16Tiling tiling(end - begin);
        Bf16Tile tiles[kMostTiles];
        for (size_t t = 0; t < tiling.count; ++t) {
            tiles[t] = {.a = rows + tiling[t] * row,
                        .rest = nullptr,
                        .c = (begin + tiling[t]) * s.out_channels,
                        .c_rows = c_rows};
        }
        for (size_t i = 0; i < end - begin; ++i) {
            std::fill(rows + i * row + s.window(), rows + (i + 1) * row, uint16_t{0});
        }
        for (size_t group = 0; group < s.groups; ++group) {
            for (size_t i = 0; i < end - begin; ++i) {
                copy_window(call.k, call.depth, rounded, begin + i, group, rows + i * row);
            }
            call.multiply_panels(group, {0, call.panels.count},
                                 {.rows = tiling.rows,
                                  .a_row = row,
                                  .offsets = offsets.data(),
                                  .in_place = offsets.size(),
                                  .tiles = tiles,
                                  .tile_count = tiling.count},
                                 call.y);
        }
    });
}

}  // namespace alexnet::cpu
