// Convolution by way of im2col: the windows of one image are copied into the rows of a matrix, and
// the convolution is then an ordinary matrix product with the weights. Caffe made it popular; here
// it is for study and as a cross-check. It moves window / stride² times the input through memory
// where `direct` reads the input in place. Windows that would take more than kBlockFloats are
// copied and multiplied block by block.
//
//     image, window 2 × 2         columns: a row for each output pixel
//
//     +---+---+---+               window at a   [a b d e]
//     | a | b | c |               window at b   [b c e f]       times W: 4 · channels × out
//     +---+---+---+    --->       window at d   [d e g h]
//     | d | e | f |               window at e   [e f h i]
//     +---+---+---+
//     | g | h | i |               Each letter is a pixel, all of its channels; padding is zeros.
//     +---+---+---+
//
//   forward:         y      = columns · W            (pixels × window) · (window × out)
//   backward input:  columns = dy · Wᵀ,  dx = col2im(columns): each entry added to its pixel
//   backward weight: dW     = columnsᵀ · dy
//
// Loops (docs/kernels/gemm.md), outermost first; loops in parentheses are shared by the threads:
//   forward, backward_input  (ic: images)  ic: blocks of windows  jr  pc: blocks of the depth  ir
//   backward_weight          pc: images, blocks of windows  (jr)  pc: blocks of the depth  ir
// B is packed before them: the weights as a whole, dy by the thread that multiplies its panel.
// Numerics: as microkernels/gemm.cpp; col2im adds in the order of the windows.

#include <vector>

#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu::im2col {
namespace {

constexpr size_t kBlockFloats = 4 << 20;  // of columns, or one window: all of AlexNet's images

struct Sizes {
    explicit Sizes(const Conv2dShape& s)
        : pixels(s.out_height * s.out_width),
          window(s.window()),
          block(std::clamp<size_t>(kBlockFloats / window, 1, pixels)),
          columns(padded(Size{block} * window)) {}
    // body(range of pixels) for every block.
    template <typename Body>
    void for_blocks(const Body& body) const {
        for (size_t begin = 0; begin < pixels; begin += block) {
            body(Range{begin, std::min(begin + block, pixels)});
        }
    }
    size_t pixels, window, block;
    Size columns;
};

// visit(column, tap's input pixel, inside) for some windows of image n and every tap in them.
template <typename Visit>
void for_each_tap(const Conv2dShape& s, size_t n, Range pixels, const Visit& visit) {
    size_t column = 0;
    for (size_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
        const size_t oh = pixel / s.out_width, ow = pixel % s.out_width;
        for (size_t kh = 0; kh < s.kernel_height; ++kh) {
            const size_t ih = oh * s.stride_height + kh - s.pad_top;
            for (size_t kw = 0; kw < s.kernel_width; ++kw, column += s.group_in()) {
                const size_t iw = ow * s.stride_width + kw - s.pad_left;
                const bool inside = ih < s.in_height && iw < s.in_width;
                visit(column, inside ? s.input_pixel(n, ih, iw) : 0, inside);
            }
        }
    }
}

void make_columns(const KernelTable& k, const Conv2dShape& s, const float* x, size_t n,
                  size_t group, Range pixels, float* columns) {
    const size_t channels = s.group_in();
    for_each_tap(s, n, pixels, [&](size_t column, size_t pixel, bool inside) {
        if (inside) {
            k.copy(channels, x + pixel + group * channels, columns + column);
        } else {
            std::fill_n(columns + column, channels, 0.0f);
        }
    });
}

// Packed panels of every group's B, one group after the other.
float* pack_groups(const KernelTable& k, const Conv2dShape& s, const float* weight,
                   bool transposed) {
    const size_t window = s.window();
    const size_t depth = transposed ? s.group_out() : window;
    const size_t columns = transposed ? window : s.group_out();
    const Panels panels(k, columns);
    float* packed = scratch(Slot::kPackedPanels, s.groups * panels.size(depth));
    parallel_for(s.groups * panels.count, 1, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            const Range own = panels[i % panels.count];
            const float* b = weight + i / panels.count * s.group_out();
            float* panel = packed + i * panels.width * depth;
            if (transposed) {
                pack_panel_transposed(k, depth, own.size(), b + own.begin * s.out_channels,
                                      s.out_channels, panel, panels.width);
            } else {
                pack_panel(k, depth, own.size(), b + own.begin, s.out_channels, panel,
                           panels.width);
            }
        }
    });
    return packed;
}

// C = A · B for all panels and blocks.
void multiply(const KernelTable& k, const Product& product, const DepthBlocks& depth,
              size_t total_depth, const float* packed, const Panels& panels, const float* bias,
              bool relu) {
    for (size_t p = 0; p < panels.count; ++p) {
        const Range columns = panels[p];
        for (const DepthBlocks::Block& block : depth.blocks()) {
            const bool last = &block == &depth.blocks().back();
            const GemmEpilogue epilogue{.accumulate = block.begin > 0,
                                        .bias = last && bias ? bias + columns.begin : nullptr,
                                        .relu = last && relu};
            multiply_panel(k, product, block, packed + columns.begin * total_depth, columns,
                           epilogue);
        }
    }
}

}  // namespace

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y) {
    const KernelTable& k = kernels();
    const Sizes z(s);
    const int threads = num_threads();
    const float* packed = pack_groups(k, s, weight, false);
    const size_t tasks = s.batch * s.groups;
    const Slices columns(Slot::kThreadOperand, std::min(static_cast<size_t>(threads), tasks),
                         z.columns);
    const DepthBlocks depth({{.offset = 0, .depth = z.window}});
    const Panels panels(k, s.group_out());
    const size_t group_size = panels.size(z.window);
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const size_t n = task / s.groups, group = task % s.groups;
        float* own = columns[thread];
        const size_t first = group * s.group_out();
        float* image = y + s.output_pixel(n, 0, 0) + first;
        z.for_blocks([&](Range pixels) {
            make_columns(k, s, x, n, group, pixels, own);
            const Product product{.rows = pixels.size(),
                                  .a = own,
                                  .row_stride = z.window,
                                  .depth_stride = 1,
                                  .width = panels.width,
                                  .c = image + pixels.begin * s.out_channels,
                                  .c_row = s.out_channels};
            multiply(k, product, depth, z.window, packed + group * group_size, panels,
                     bias ? bias + first : nullptr, relu);
        });
    });
}

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    const KernelTable& k = kernels();
    const Sizes z(s);
    const int threads = num_threads();
    const float* packed = pack_groups(k, s, weight, true);
    const Slices columns(Slot::kThreadOperand, std::min(static_cast<size_t>(threads), s.batch),
                         z.columns);
    const DepthBlocks depth({{.offset = 0, .depth = s.group_out()}});
    const Panels panels(k, z.window);
    const size_t group_size = panels.size(s.group_out());
    parallel_tasks(threads, s.batch, [&](size_t n, size_t thread) {
        float* own = columns[thread];
        float* image = dx + s.input_pixel(n, 0, 0);
        std::fill_n(image, s.in_height * s.in_width * s.in_channels, 0.0f);
        for (size_t group = 0; group < s.groups; ++group) {
            const float* gradients = dy + s.output_pixel(n, 0, 0) + group * s.group_out();
            z.for_blocks([&](Range pixels) {
                const Product product{.rows = pixels.size(),
                                      .a = gradients + pixels.begin * s.out_channels,
                                      .row_stride = s.out_channels,
                                      .depth_stride = 1,
                                      .width = panels.width,
                                      .c = own,
                                      .c_row = z.window};
                multiply(k, product, depth, s.group_out(), packed + group * group_size, panels,
                         nullptr, false);
                for_each_tap(s, n, pixels, [&](size_t column, size_t pixel, bool inside) {
                    if (!inside) return;
                    float* target = dx + pixel + group * s.group_in();
                    for (size_t c = 0; c < s.group_in(); ++c) target[c] += own[column + c];
                });
            });
        }
    });
}

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight) {
    const KernelTable& k = kernels();
    const Sizes z(s);
    const int threads = num_threads();
    float* columns = scratch(Slot::kIm2col, z.columns);
    const Panels panels(k, s.group_out());
    float* packed = scratch(Slot::kPackedPanels, panels.size(z.block));
    for (size_t n = 0; n < s.batch; ++n) {
        for (size_t group = 0; group < s.groups; ++group) {
            const float* dy_group = dy + s.output_pixel(n, 0, 0) + group * s.group_out();
            z.for_blocks([&](Range pixels) {
                make_columns(k, s, x, n, group, pixels, columns);
                const DepthBlocks depth({{.offset = 0, .depth = pixels.size()}}, z.window);
                parallel_tasks(threads, panels.count, [&](size_t p, size_t) {
                    const Range own = panels[p];
                    float* panel = packed + own.begin * pixels.size();
                    pack_panel(k, pixels.size(), own.size(),
                               dy_group + pixels.begin * s.out_channels + own.begin, s.out_channels,
                               panel, panels.width);
                    const Product product{.rows = z.window,
                                          .a = columns,
                                          .row_stride = 1,
                                          .depth_stride = z.window,
                                          .width = panels.width,
                                          .c = dweight + group * s.group_out(),
                                          .c_row = s.out_channels};
                    for (const DepthBlocks::Block& block : depth.blocks()) {
                        const bool first = n + pixels.begin + block.begin == 0;
                        multiply_panel(k, product, block, panel, own, {.accumulate = !first});
                    }
                });
            });
        }
    }
}

}  // namespace alexnet::cpu::im2col
