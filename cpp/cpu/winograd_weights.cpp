// Gathers and transforms weights; winograd_weights.h has the drawing.

#include "winograd_weights.h"

#include "winograd_transform.h"

namespace alexnet::cpu::winograd {
namespace {

// Of a task where there is a stride, and taps are read where they lie: then there are few channels.
constexpr size_t kStridedChannels = 4;

}  // namespace

Size Weights::memory_size(size_t columns) const {
    if (p_.stride > 1) return Size{0};
    return padded((Size{kChannels} * columns + kConflictPadding) * s_.kernel_height *
                  s_.kernel_width);
}

const float* Weights::row(size_t tap, size_t group, size_t channel, size_t column) const {
    if (!flipped_) {
        return weight_ + (tap * s_.group_in() + channel) * s_.out_channels +
               group * s_.group_out() + column;
    }
    const size_t flipped_tap = taps() - 1 - tap;
    return weight_ + (flipped_tap * s_.group_out() + column) * s_.in_channels +
           group * s_.group_in() + channel;
}

void Weights::gather(size_t group, Range channels, Range columns, float* memory) const {
    for (size_t tap = 0; tap < taps(); ++tap) {
        const float* source = row(tap, group, channels.begin, columns.begin);
        float* target = memory + tap * tap_stride(columns);
        if (flipped_) {
            k_.transpose(columns.size(), channels.size(), source, s_.in_channels, target,
                         columns.size());
        } else {
            k_.copy_rows(channels.size(), columns.size(), source, s_.out_channels, target,
                         columns.size());
        }
    }
}

void Weights::transform(size_t group, Range channels, Range panels, float* memory, bool stream,
                        const PanelMatrices& u) const {
    const size_t width = panels_.width, elements = p_.tiling.elements();
    const Range outputs{panels_[panels.begin].begin, panels_[panels.end - 1].end};
    Transform transform = weight_transform(k_, p_.tiling);
    transform.stream = stream;
    for (size_t channel = channels.begin; channel < channels.end; ++channel) {
        const float* in[kTileElements];
        const size_t gathered = (channel - channels.begin) % kChannels;
        if (p_.stride > 1) {
            tap_pointers(s_, p_, weight_ + outputs.begin, zeros_, group, channel, in);
        } else {
            if (gathered == 0) {
                gather(group, {channel, std::min(channel + kChannels, channels.end)}, outputs,
                       memory);
            }
            for (size_t tap = 0; tap < taps(); ++tap) {
                in[tap] = memory + tap * tap_stride(outputs) + gathered * outputs.size();
            }
        }
        float* out[kTileElements];
        for (size_t e = 0; e < elements; ++e) {
            out[e] = u.begin + e * u.element + (channel - channels.begin) * width;
        }
        for (size_t panel = 0; panel < panels.size(); ++panel) {
            const size_t columns = std::min(width, outputs.size() - panel * width);
            for (size_t j = 0; j < columns; j += k_.lanes) {
                transform(in, panel * width + j, std::min(k_.lanes, columns - j), out,
                          panel * u.panel + j, k_.lanes);
            }
        }
    }
}

void Weights::prefetch(size_t group, Range channels, Range columns, size_t parts,
                       size_t index) const {
    if (p_.stride > 1) return;
    // Rows of neighbouring output channels, or of input channels where they are flipped.
    const size_t rows = (flipped_ ? columns : channels).size();
    const size_t floats = (flipped_ ? channels : columns).size();
    const Range range = part(taps() * rows, parts, index);
    for (size_t i = range.begin; i < range.end; ++i) {
        const float* begin = row(i / rows, group, channels.begin + (flipped_ ? 0 : i % rows),
                                 columns.begin + (flipped_ ? i % rows : 0));
        for (size_t j = 0; j < floats; j += kLineFloats) __builtin_prefetch(begin + j, 0, 2);
    }
}

namespace {

Size element_floats(const Problem& p, const Panels& panels) {
    return panels.size(p.group_in) + kConflictPadding;
}

Size group_floats(const Problem& p, const Panels& panels) {
    return padded(Size{p.tiling.elements()} * element_floats(p, panels));
}

}  // namespace

Size TransformedWeights::size(const Conv2dShape& s, const Problem& p, const Panels& panels) {
    return Size{s.groups} * group_floats(p, panels);
}

TransformedWeights::TransformedWeights(const KernelTable& k, const Conv2dShape& s, const Problem& p,
                                       const Panels& panels, const Weights& weights,
                                       const float* prepared)
    : TransformedWeights(k, s, p, panels, weights,
                         prepared ? nullptr : scratch(Slot::kPackedPanels, size(s, p, panels))) {
    if (prepared) memory_ = prepared;
}

TransformedWeights::TransformedWeights(const KernelTable& k, const Conv2dShape& s, const Problem& p,
                                       const Panels& panels, const Weights& weights, float* memory)
    : k_(k),
      panels_(panels),
      weights_(weights),
      groups_(s.groups),
      group_in_(p.group_in),
      task_channels_(p.stride > 1 ? kStridedChannels : Weights::kChannels),
      panel_(Size{p.group_in} * panels.width),
      element_(element_floats(p, panels)),
      group_(group_floats(p, panels)),
      target_(memory),
      memory_(memory) {}

void TransformedWeights::transform(size_t task, float* memory) const {
    const size_t panel = task % panels_.count, group = task / panels_.count % groups_;
    const size_t first = task / (panels_.count * groups_) * task_channels_;
    const Range channels{first, std::min(first + task_channels_, group_in_)};
    weights_.transform(group, channels, {panel, panel + 1}, memory, true,
                       {.begin = target_ + group * group_ + panel * panel_ + first * panels_.width,
                        .panel = panel_,
                        .element = element_});
    k_.stream_fence();
}

}  // namespace alexnet::cpu::winograd
