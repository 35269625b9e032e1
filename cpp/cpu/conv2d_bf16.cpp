// Convolution on bfloat16 operands, as implicit matrix products: rows are outputs, the depth is the
// window, columns are the features of a group (bf16.h has how they are packed).
//
//   frame     (conv2d_bf16_frame.cpp) tiles of A are read from the images with their border of
//             zeros, rounded once; only what is left of a window beside whole steps is copied
//   windows   (conv2d_bf16_windows.cpp) all others: the windows of some outputs are copied into
//             rows, the whole of them filled up to a step with zeros
//
// Reading what is beside a window, to multiply it with weights of zero, would make NaN of a NaN
// that the window does not see.
//
// Threads: a task is a run of outputs with a range of panels. Which rows share a tile depends on the
// shape only, and so do the bits of the result.

#include "conv2d_bf16.h"

#include "parallel.h"

namespace alexnet::cpu {

Size packed_conv2d_bf16_size(const Conv2dShape& s) {
    return Bf16Panels(s.window(), s.group_out()).size() * s.groups;
}

void pack_conv2d_bf16(const Conv2dShape& s, const Bf16Input& weight, uint16_t* packed) {
    const KernelTable& k = kernels();
    const Bf16Depth order(s);
    const Bf16Panels panels(s.window(), s.group_out());
    const size_t panel_size = panels.panel_size();
    const auto row_of = [&](size_t depth) { return order.weight_row(depth); };
    parallel_for(s.groups * panels.count, ceil_div(kBf16WorthATask, panel_size),
                 [&](size_t begin, size_t end) {
                     for (size_t p = begin; p < end; ++p) {
                         pack_bf16_panel(k, panels, panels[p % panels.count], weight,
                                         s.out_channels, p / panels.count * s.group_out(), row_of,
                                         packed + p * panel_size);
                     }
                 });
}

void conv2d_bf16(const Conv2dShape& s, const Bf16Input& x, const uint16_t* packed,
                 const float* bias, bool relu, const Bf16Output& y) {
    if (s.batch == 0) return;
    const Bf16Conv2d call(s, x, packed, bias, relu, y);
    if (!convolve_bf16_frame(call)) convolve_bf16_windows(call);
}

void conv2d_max_pool2d_bf16(const Conv2dShape& s, const Pool2dShape& pool, const Bf16Input& x,
                            const uint16_t* packed, const float* bias, bool relu, uint16_t* y) {
    if (s.batch == 0) return;
    if (convolve_and_pool_bf16_frame({s, x, packed, bias, relu, {}}, pool, y)) return;
    uint16_t* between = as_bf16(scratch(Slot::kIm2col, bf16_floats(s.output_size())));
    conv2d_bf16(s, x, packed, bias, relu, {.bits = between});
    max_pool2d_bf16(pool, between, y);
}

}  // namespace alexnet::cpu
