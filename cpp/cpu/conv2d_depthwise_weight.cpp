// Gradient of the weights of a depthwise convolution or one in narrow groups:
//
//   dweight[kh,kw,c,o] = sum over n, oh, ow of
//                        x[n, oh·stride + kh - pad, ow·stride + kw - pad, first(o) + c] · dy[n,oh,ow,o]
//
// where first(o) is the first input channel of o's group. Vectors run over o
// (microkernels/depthwise.cpp).
//
// Cost: 2 · outputs · window FLOP.
// Threads: the rows of outputs of all images are cut into parts, by the shape alone. A task is a
// part and a block of channels, with sums of its own; then these are added up in order.
// Numerics: chains over a row of pixels, summed in the order of the rows and then of the parts: the
// same for every number of threads; those of dbias in double.

#include "conv2d.h"
#include "depthwise_rows.h"
#include "dispatch.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu::depthwise {
namespace {

constexpr size_t kMostParts = 16, kFewestRows = 8;  // of a part

// What every task of one call shares.
struct Plan {
    Plan(const KernelTable& k, const Conv2dShape& s)
        : shape(s),
          groups{.count = s.groups, .in = s.group_in(), .out = s.group_out()},
          frame(frame_for(s.in_height, s.in_width, s.in_channels, s.groups, s.pad_top, s.pad_left,
                          (s.out_height - 1) * s.stride_height + s.kernel_height,
                          (s.out_width - 1) * s.stride_width + s.kernel_width)),
          panels(blocks(k, groups, s.kernel_height, frame.columns)),
          rows(s.batch * s.out_height),
          parts(std::clamp<size_t>(rows / kFewestRows, 1, kMostParts)) {}

    const Conv2dShape& shape;
    Groups groups;
    Frame frame;
    Panels panels;
    size_t rows, parts;
};

// Sums over the rows of one part for one block: of the weights as packed, and of the bias.
void sum_part(const KernelTable& k, const Plan& p, Range rows, size_t block, const float* dy,
              const float* x, float* memory, float* sums, double* bias) {
    const Conv2dShape& s = p.shape;
    const Range channels = p.panels[block];
    std::fill_n(sums, p.panels.width * s.window(), 0.0f);
    std::fill_n(bias, p.panels.width, 0.0);
    for (size_t row = rows.begin; row < rows.end;) {
        const size_t n = row / s.out_height;
        const size_t end = std::min(rows.end, (n + 1) * s.out_height);
        SpreadRows spread(k, p.frame, p.groups, p.panels.width, channels, s.kernel_height,
                          x + s.input_pixel(n, 0, 0), memory);
        for (; row < end; ++row) {
            const size_t oh = row - n * s.out_height, first = oh * s.stride_height;
            const float* gradients = dy + s.output_pixel(n, oh, 0) + channels.begin;
            const DepthwiseWindow window =
                spread.window({first, first + s.kernel_height}, 0, s.stride_width, s.kernel_width);
            k.depthwise_weight(s.out_width, window, gradients, s.out_channels, channels.size(),
                               sums, bias);
        }
    }
}

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const Plan p(k, s);
    const size_t tasks = p.parts * p.panels.count, window = s.window(), width = p.panels.width;
    const Size block_size = Size{width} * window;
    const Slices sums(Slot::kGradientSums, p.parts, block_size * p.panels.count);
    double* bias_sums = scratch_doubles(Slot::kDoubleSums, Size{width} * tasks);
    const Slices memory(Slot::kThreadMemory, std::min(static_cast<size_t>(threads), tasks),
                        SpreadRows::memory_size(p.frame, p.groups, width, s.kernel_height));
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const size_t i = task / p.panels.count, block = task % p.panels.count;
        sum_part(k, p, part(p.rows, p.parts, i), block, dy, x, memory[thread],
                 sums[i] + block * block_size, bias_sums + task * width);
    });
    const float one = 1.0f;
    parallel_for(p.panels.count, 1, [&](size_t begin, size_t end) {
        for (size_t block = begin; block < end; ++block) {
            const Range channels = p.panels[block];
            float* total = sums[0] + block * block_size;
            for (size_t i = 1; i < p.parts; ++i) {
                k.add_weighted_rows(1, block_size, &one, sums[i] + block * block_size, 0, total);
            }
            k.copy_rows(window, channels.size(), total, width, dweight + channels.begin,
                        s.out_channels);
            for (size_t o = 0; o < channels.size(); ++o) {
                double sum = 0.0;
                for (size_t i = 0; i < p.parts; ++i) {
                    sum += bias_sums[(i * p.panels.count + block) * width + o];
                }
                dbias[channels.begin + o] = static_cast<float>(sum);
            }
        }
    });
}

}  // namespace alexnet::cpu::depthwise
