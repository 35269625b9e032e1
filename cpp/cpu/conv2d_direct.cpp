// Convolution as an implicit matrix product: y is the correlation of x with the weights, each read
// where it lies (direct_correlation.h has the drawing of A).
//
//     weights, HWIO                        packed: panels of NR output channels
//
//     tap 0, c 0   [o o o o o o]           panel 0   tap 0, c 0  [o o o]
//     tap 0, c 1   [o o o o o o]                     tap 0, c 1  [o o o]
//     ...                          --->              ...
//     tap 8, c 63  [o o o o o o]           panel 1   tap 0, c 0        [o o o]
//                                                    ...
//
// Cost: 2 · outputs · window FLOP: bound by the FMA units.
// Narrow groups take vectors across groups instead: docs/kernels/depthwise.md.
// Loops: those of direct_correlation.cpp; before them the threads share the packing of all of B.
// Numerics: chains of at most kDepthBlock FMAs, summed in order; the same for every number of
// threads.

#include "conv2d.h"
#include "depthwise_correlation.h"
#include "direct_correlation.h"
#include "dispatch.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu::direct {
namespace {

// How the weights lie once they are packed. For vectors across groups it is as if there were one.
struct Packing {
    Packing(const KernelTable& k, const Conv2dShape& s)
        : frame(frame_for(s.in_height, s.in_width, s.in_channels, s.groups, s.pad_top, s.pad_left,
                          (s.out_height - 1) * s.stride_height + s.kernel_height,
                          (s.out_width - 1) * s.stride_width + s.kernel_width)),
          across_groups(depthwise::suits(k, groups_of(s), s.window())),
          groups(across_groups ? 1 : s.groups),
          panels(across_groups ? depthwise::blocks(k, groups_of(s), s.kernel_height, frame.columns)
                               : Panels(k, s.group_out())) {}

    static depthwise::Groups groups_of(const Conv2dShape& s) {
        return {.count = s.groups, .in = s.group_in(), .out = s.group_out()};
    }
    Size size(const Conv2dShape& s) const { return groups * panels.size(s.window()); }

    Frame frame;
    bool across_groups;
    size_t groups;
    Panels panels;
};

void pack(const KernelTable& k, const Conv2dShape& s, const Packing& packing, const float* weight,
          float* packed) {
    const size_t depth = s.window();
    const Panels& panels = packing.panels;
    parallel_tasks(num_threads(), packing.groups * panels.count, [&](size_t i, size_t) {
        const Range columns = panels[i % panels.count];
        pack_panel(k, depth, columns.size(),
                   weight + i / panels.count * s.group_out() + columns.begin, s.out_channels,
                   packed + i * panels.width * depth, panels.width);
    });
}

}  // namespace

Size prepared_weight_size(const Conv2dShape& s) { return Packing(kernels(), s).size(s); }

void prepare_weight(const Conv2dShape& s, const float* weight, float* packed) {
    const KernelTable& k = kernels();
    pack(k, s, Packing(k, s), weight, packed);
}

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y, const float* packed) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t depth = s.window();
    const Packing packing(k, s);
    if (!packed) {
        float* memory = scratch(Slot::kPackedPanels, packing.size(s));
        pack(k, s, packing, weight, memory);
        packed = memory;
    }

    Correlation c{.batch = s.batch,
                  .groups = s.groups,
                  .x = x,
                  .frame = packing.frame,
                  .panels = packing.panels,
                  .bias = bias,
                  .relu = relu,
                  .grids = {}};
    c.grids.push_back(
        {.rows = s.out_height,
         .columns = s.out_width,
         .y = y,
         .image_stride = s.output_pixel(1, 0, 0),
         .row_stride = s.output_pixel(0, 1, 0),
         .pixel_stride = s.out_channels,
         .first_row = 0,
         .first_column = 0,
         .row_step = s.stride_height,
         .column_step = s.stride_width,
         .window_rows = s.kernel_height,
         .depth = DepthBlocks(window_segments(s.kernel_height, s.kernel_width, packing.frame)),
         .total_depth = depth,
         .packed = packed});
    (packing.across_groups ? depthwise::correlate : correlate)(k, c, threads);
}

}  // namespace alexnet::cpu::direct
