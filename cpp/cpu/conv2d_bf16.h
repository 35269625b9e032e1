// What the drivers of convolutions on bfloat16 operands share: the order of the depth, and the
// products of some outputs with the panels of a group.

#ifndef ALEXNET_CPU_CONV2D_BF16_H_
#define ALEXNET_CPU_CONV2D_BF16_H_

#include "bf16.h"
#include "dispatch.h"

namespace alexnet::cpu {

constexpr size_t kBf16WorthATask = 1 << 18;  // multiply-adds, or elements copied

// The order of the depth. Where the channels of a group are whole steps: blocks of 32 channels, kh,
// kw and the channels of a block, so that all taps of a pixel meet in the L1 cache. Elsewhere the
// row of a window is one run of kernel_width * channels elements: first the whole steps of all rows
// (in_place), then what is left of each row, the rest, together. With groups such a run is none in
// the image, and all of it is rest.
struct Bf16Depth {
    explicit Bf16Depth(const Conv2dShape& shape)
        : s(shape),
          has_blocks(s.group_in() % kBf16Depth == 0),
          row(s.kernel_width * s.group_in()),
          row_in_place(has_blocks || s.groups == 1 ? row / kBf16Depth * kBf16Depth : 0),
          row_rest(row - row_in_place),
          in_place(s.kernel_height * row_in_place / kBf16Depth) {}

    // Where element `i` of row kh of a window is along the depth.
    size_t of(size_t kh, size_t i) const {
        if (has_blocks) {
            const size_t kw = i / s.group_in(), c = i % s.group_in();
            const size_t taps = s.kernel_height * s.kernel_width;
            const size_t step = c / kBf16Depth * taps + kh * s.kernel_width + kw;
            return step * kBf16Depth + c % kBf16Depth;
        }
        if (i < row_in_place) return kh * row_in_place + i;
        return in_place * kBf16Depth + kh * row_rest + i - row_in_place;
    }
    // Its inverse, as the row of the weights as they are given: kh, kw, c.
    size_t weight_row(size_t depth) const {
        if (depth >= s.window()) return SIZE_MAX;
        if (has_blocks) {
            const size_t taps = s.kernel_height * s.kernel_width, step = depth / kBf16Depth;
            const size_t c = step / taps * kBf16Depth + depth % kBf16Depth;
            return step % taps * s.group_in() + c;
        }
        const size_t rest = in_place * kBf16Depth;
        if (depth < rest) return depth / row_in_place * row + depth % row_in_place;
        return (depth - rest) / row_rest * row + row_in_place + (depth - rest) % row_rest;
    }

    const Conv2dShape& s;
    bool has_blocks;
    size_t row, row_in_place, row_rest;  // elements
    size_t in_place;                     // steps
};

// What all tasks of a call share.
struct Bf16Conv2d {
    Bf16Conv2d(const Conv2dShape& shape, const Bf16Input& input, const uint16_t* packed_weights,
               const float* bias_or_null, bool with_relu, const Bf16Output& output)
        : s(shape),
          depth(shape),
          panels(shape.window(), shape.group_out()),
          k(kernels()),
          multiply(bf16_multiply()),
          x(input),
          packed(packed_weights),
          bias(bias_or_null),
          relu(with_relu),
          y(output) {}

    // Tiles by the panels `of` a group. `tiles` say everything of A, and C's rows in `result`.
    void multiply_panels(size_t group, Range of, Bf16Block tiles, const Bf16Output& result) const {
        for (size_t p = of.begin; p < of.end; ++p) {
            const Range columns = panels[p];
            const size_t first = group * s.group_out() + columns.begin;
            const uint16_t* const all = packed + group * panels.size();
            tiles.steps = panels.steps;
            tiles.b = all + p * panels.panel_size();
            tiles.next = all + (p + 1 < of.end ? p + 1 : of.begin) * panels.panel_size();
            tiles.columns = columns.size();
            tiles.c = result.floats ? result.floats + first : nullptr;
            tiles.c_bits = result.bits ? result.bits + first : nullptr;
            tiles.bias = bias ? bias + first : nullptr;
            tiles.relu = relu;
            multiply(tiles);
        }
    }

    const Conv2dShape& s;
    Bf16Depth depth;
    Bf16Panels panels;  // of one group
    const KernelTable& k;
    Bf16Multiply multiply;
    const Bf16Input& x;
    const uint16_t* packed;
    const float* bias;
    bool relu;
    const Bf16Output& y;
};

// conv2d_bf16_frame.cpp: false, and nothing done, for shapes that it does not serve.
bool convolve_bf16_frame(const Bf16Conv2d& call);
// The same with max-pooling behind it, into `pooled`: also false where a task is not whole images.
bool convolve_and_pool_bf16_frame(const Bf16Conv2d& call, const Pool2dShape& pool,
                                  uint16_t* pooled);
// conv2d_bf16_windows.cpp: for every shape.
void convolve_bf16_windows(const Bf16Conv2d& call);

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_CONV2D_BF16_H_
