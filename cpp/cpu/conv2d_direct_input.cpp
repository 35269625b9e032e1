// Gradient of a convolution with respect to its input, by correlations of dy with the weights
// flipped by 180° and transposed.
//
// With stride 1 that is one correlation. With stride s, the pixels of dx with the same
// (ih + pad) mod s see only every s-th tap of the window: s² such *phases*, each a correlation of
// stride 1 of its own, over the same padded dy:
//
//     stride 2, taps 0 to 4                        dx:  phases of the pixels
//
//     output     0   1   2                              +---+---+---+---+
//     tap        0 1 2 3 4                              |0,0|0,1|0,0|0,1|
//                    0 1 2 3 4                          +---+---+---+---+
//                        0 1 2 3 4                      |1,0|1,1|1,0|1,1|
//     phase      0 1 0 1 0 1 0 1 0                      +---+---+---+---+
//
//     phase 0 sees taps 4, 2, 0 of neighbouring outputs, phase 1 taps 3, 1
//
// Cost: 2 · outputs · window FLOP, as forward: bound by the FMA units.
// Narrow groups take vectors across groups, few input channels vectors over pixels:
// docs/kernels/depthwise.md.
// Loops: those of direct_correlation.cpp, for each phase; before them the threads share the packing
// of all of B.
// Numerics: as forward. Weights that are not finite are left to im2col.

#include <atomic>
#include <vector>

#include "conv2d.h"
#include "depthwise_correlation.h"
#include "direct_correlation.h"
#include "dispatch.h"
#include "parallel.h"
#include "planar_correlation.h"
#include "scratch.h"

namespace alexnet::cpu::direct {
namespace {

// The pixels of one axis of dx that see the taps phase, phase + stride, ... They are the inputs
// stride · a + phase - pad for a from `begin` to `end`, `count` of them, the first at `position`.
struct Phase {
    Phase(size_t phase, size_t stride, size_t kernel, size_t pad, size_t in_size)
        : tap(phase), taps(ceil_div(kernel - phase, stride)) {
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

// How many pixels of the axis belong to a phase.
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

// The same for vectors across groups: input channel c of the panel in column c, with the weights of
// its group.
void pack_phase_across_groups(const Conv2dShape& s, const Phase& h, const Phase& w,
                              const float* weight, Range channels, float* panel, size_t width) {
    for (size_t i = h.taps; i-- > 0;) {
        for (size_t j = w.taps; j-- > 0;) {
            const size_t kh = h.tap + i * s.stride_height, kw = w.tap + j * s.stride_width;
            const float* tap = weight + (kh * s.kernel_width + kw) * s.group_in() * s.out_channels;
            for (size_t o = 0; o < s.group_out(); ++o, panel += width) {
                for (size_t c = channels.begin; c < channels.end; ++c) {
                    const size_t group = c / s.group_in();
                    panel[c - channels.begin] =
                        tap[c % s.group_in() * s.out_channels + group * s.group_out() + o];
                }
                std::fill(panel + channels.size(), panel + width, 0.0f);
            }
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
        frame_for(s.out_height, s.out_width, s.out_channels, s.groups, vertical.before,
                  horizontal.before, vertical.before + s.out_height + vertical.after,
                  horizontal.before + s.out_width + horizontal.after);
    const depthwise::Groups groups{.count = s.groups, .in = s.group_out(), .out = s.group_in()};
    const size_t most_rows = rows.empty() ? 0 : rows[0].taps;  // of a window
    const bool across_groups =
        depthwise::suits(k, groups, s.kernel_height * s.kernel_width * s.group_out());
    const Panels panels = across_groups ? depthwise::blocks(k, groups, most_rows, frame.columns)
                                        : Panels(k, s.group_in());
    Correlation c{.batch = s.batch,
                  .groups = s.groups,
                  .x = dy,
                  .frame = frame,
                  .panels = panels,
                  .grids = {}};

    const size_t packed_groups = across_groups ? 1 : s.groups;
    float* packed = scratch(Slot::kPackedPanels, panels.size(s.group_out()) * s.kernel_height *
                                                     s.kernel_width * packed_groups);
    const float* next_packed = packed;
    for (const Phase& h : rows) {
        for (const Phase& w : columns) {
            const size_t depth = h.taps * w.taps * s.group_out();
            c.grids.push_back({.rows = h.count,
                               .columns = w.count,
                               .y = dx + s.input_pixel(0, h.position, w.position),
                               .image_stride = s.input_pixel(1, 0, 0),
                               .row_stride = s.stride_height * s.input_pixel(0, 1, 0),
                               .pixel_stride = s.stride_width * s.in_channels,
                               .first_row = h.begin + vertical.before - (h.taps - 1),
                               .first_column = w.begin + horizontal.before - (w.taps - 1),
                               .row_step = 1,
                               .column_step = 1,
                               .window_rows = h.taps,
                               .depth = DepthBlocks(window_segments(h.taps, w.taps, frame)),
                               .total_depth = depth,
                               .packed = next_packed});
            next_packed += packed_groups * panels.size(depth);
        }
    }
    const size_t grid_panels = packed_groups * panels.count;
    std::atomic<bool> finite = true;
    parallel_tasks(threads, c.grids.size() * grid_panels, [&](size_t task, size_t) {
        const size_t g = task / grid_panels, i = task % grid_panels;
        const size_t floats = panels.width * c.grids[g].total_depth;
        float* panel = packed + static_cast<size_t>(c.grids[g].packed - packed) + i * floats;
        const Phase &h = rows[g / columns.size()], &w = columns[g % columns.size()];
        if (across_groups) {
            pack_phase_across_groups(s, h, w, weight, panels[i], panel, panels.width);
        } else {
            pack_phase(k, s, h, w, weight, i / panels.count, panels[i % panels.count], panel,
                       panels.width);
        }
        if (!k.all_finite(floats, panel)) finite = false;
    });
    // The zeros around dy stand for outputs that do not exist, so no weight may make more of them.
    if (!finite) return im2col::backward_input(s, dy, weight, dx);
    if (pixels_of(rows) < s.in_height || pixels_of(columns) < s.in_width) {
        // The stride skips some pixels: no output read them.
        parallel_for(s.input_size(), size_t{1} << 16,
                     [&](size_t begin, size_t end) { std::fill(dx + begin, dx + end, 0.0f); });
    }
    if (c.grids.empty()) return;
    if (across_groups) return depthwise::correlate(k, c, threads);
    (planar::suits(k, c) ? planar::correlate : correlate)(k, c, threads);
}

}  // namespace alexnet::cpu::direct
