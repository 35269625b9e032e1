// The weights g of a convolution, their transform U = G · g · Gᵀ, and where U lies.
//
//     g: HWIO                  gathered, 16 input channels        U: packed panels of B
//
//     tap 0  [in][out]         tap 0  [16][columns]        (0, 0)  panel 0  [in][width]
//     tap 1  [in][out]  --->   tap 1  [16][columns]  --->          panel 1  [in][width]
//     ...                      ...                         (0, 1)  panel 0  [in][width]
//     tap 8  [in][out]         tap 8  [16][columns]                panel 1  [in][width]
//                                                          ...
//
// Taps are gathered first because those of one pair of channels often lie a power of two apart,
// more of them than a set of the L1 cache holds. Flipped weights (the input gradient) are
// transposed on the way: tap t is the original's last but t, with input and output channels
// exchanged. With a stride, taps are read where they lie: those of a block of s × s pixels are
// channels of one tap, and zero beyond the window.

#ifndef ALEXNET_CPU_WINOGRAD_WEIGHTS_H_
#define ALEXNET_CPU_WINOGRAD_WEIGHTS_H_

#include "scratch.h"
#include "winograd_tiling.h"

namespace alexnet::cpu::winograd {

// Pointers to the taps of one input channel, after space to depth, at the first output channel of
// its group; `outside` for taps that blocks have beyond the window.
template <typename Float>
void tap_pointers(const Conv2dShape& s, const Problem& p, Float* weight, Float* outside,
                  size_t group, size_t channel, Float** pointers) {
    const size_t c = channel % s.group_in(), pixel = channel / s.group_in();
    const size_t pixel_row = pixel / p.stride, pixel_column = pixel % p.stride;
    for (size_t a = 0; a < p.window_height; ++a) {
        for (size_t b = 0; b < p.window_width; ++b) {
            const size_t kh = a * p.stride + pixel_row, kw = b * p.stride + pixel_column;
            const bool inside = kh < s.kernel_height && kw < s.kernel_width;
            const size_t row = (kh * s.kernel_width + kw) * s.group_in() + c;
            *pointers++ = inside ? weight + row * s.out_channels + group * s.group_out() : outside;
        }
    }
}

// Where U of some input channels is written: floats from panel to panel and from element to
// element; a panel is [channel][width].
struct PanelMatrices {
    float* begin;
    size_t panel, element;
};

class Weights {
  public:
    // `flipped`: `weight` belongs to the convolution of which this one is the input gradient.
    // `zeros` holds out_channels floats that are 0.
    Weights(const KernelTable& k, const Conv2dShape& shape, const Problem& problem,
            const Panels& panels, const float* weight, bool flipped, const float* zeros)
        : k_(k),
          s_(shape),
          p_(problem),
          panels_(panels),
          weight_(weight),
          flipped_(flipped),
          zeros_(zeros) {}

    // Input channels that are gathered at once, and the memory that this takes.
    static constexpr size_t kChannels = 16;
    Size memory_size(size_t columns) const;

    // U of some input channels and panels of a group, by non-temporal stores if `stream`: what
    // other threads read is better not in this core's caches, as lines that another core has are
    // slow to write.
    void transform(size_t group, Range channels, Range panels, float* memory, bool stream,
                   const PanelMatrices& u) const;

    // Prefetches part `index` of `parts` of what `transform` reads for a panel into L2.
    void prefetch(size_t group, Range channels, Range columns, size_t parts, size_t index) const;

  private:
    // Neighbouring weights of one tap: output channels, or input channels where flipped.
    const float* row(size_t tap, size_t group, size_t channel, size_t column) const;
    // Copies taps to `memory`, tap_stride(columns) floats apart.
    void gather(size_t group, Range channels, Range columns, float* memory) const;
    size_t taps() const { return s_.kernel_height * s_.kernel_width; }
    static size_t tap_stride(Range columns) {
        return kChannels * columns.size() + kConflictPadding;
    }

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    const Panels& panels_;
    const float* weight_;
    bool flipped_;
    const float* zeros_;
};

// U of all weights: [group][element][panel][channel][width]. Computed by tasks, each of which has
// some input channels and one panel of a group, unless it was before (`prepared`, of
// TransformedWeights::size floats): then there are no tasks.
class TransformedWeights {
  public:
    TransformedWeights(const KernelTable& k, const Conv2dShape& shape, const Problem& problem,
                       const Panels& panels, const Weights& weights, const float* prepared);
    // The same, to be computed into `memory`.
    TransformedWeights(const KernelTable& k, const Conv2dShape& shape, const Problem& problem,
                       const Panels& panels, const Weights& weights, float* memory);
    static Size size(const Conv2dShape& shape, const Problem& problem, const Panels& panels);

    size_t tasks() const {
        return target_ ? groups_ * ceil_div(group_in_, task_channels_) * panels_.count : 0;
    }
    // `memory` holds task_memory() floats and is the thread's own.
    void transform(size_t task, float* memory) const;
    Size task_memory() const { return padded(weights_.memory_size(panels_.width)); }

    size_t panel_floats() const { return panel_; }
    const float* panel(size_t group, size_t e, size_t i) const {
        return memory_ + group * group_ + e * element_ + i * panel_;
    }

  private:
    const KernelTable& k_;
    const Panels& panels_;
    const Weights& weights_;
    size_t groups_, group_in_, task_channels_;
    size_t panel_, element_, group_;  // floats of each
    float* target_;                   // null where it is computed already
    const float* memory_;
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_WEIGHTS_H_
