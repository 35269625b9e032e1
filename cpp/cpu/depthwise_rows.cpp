#include "depthwise_rows.h"

namespace alexnet::cpu::depthwise {

constexpr size_t kRingFloats = 12 << 10;  // of the rows that a window sees: 48 KiB, about L1

bool suits(const KernelTable& k, const Groups& groups, size_t depth) {
    return groups.count > 1 && 2 * groups.out <= ceil_div(groups.out, k.lanes) * k.lanes &&
           depth <= kDepthBlock;
}

Panels blocks(const KernelTable& k, const Groups& groups, size_t window_rows, size_t columns) {
    Panels panels(k, groups.count * groups.out);
    const Size vector_ring = Size{window_rows} * columns * groups.in * k.lanes;
    const size_t vectors = ceil_div(panels.columns, k.lanes);
    const size_t most = std::min(vectors, kMostVectors);
    const size_t fit = std::clamp<size_t>(kRingFloats / vector_ring, 1, most);
    panels.width = ceil_div(vectors, ceil_div(vectors, fit)) * k.lanes;
    panels.count = ceil_div(panels.columns, panels.width);
    return panels;
}

SpreadRows::SpreadRows(const KernelTable& k, const Frame& frame, const Groups& groups, size_t width,
                       Range channels, size_t ring_rows, const float* image, float* memory)
    : k_(k),
      frame_(frame),
      groups_(groups),
      width_(width),
      ring_rows_(ring_rows),
      row_size_(row_size(frame, groups, width)),
      image_(image),
      memory_(memory),
      vectors_(ceil_div(channels.size(), k.lanes)) {
    for (size_t v = 0; v < vectors_; ++v) {
        const size_t first = channels.begin + v * k.lanes, group = first / groups.out;
        sources_[v].channel = group * groups.in;
        for (size_t i = 0; i < k.lanes; ++i) {
            // Lanes beyond the last channel repeat it: nobody reads their sums.
            const size_t channel = std::min(first + i, channels.end - 1);
            sources_[v].order[i] = static_cast<int32_t>((channel / groups.out - group) * groups.in);
        }
    }
}

DepthwiseWindow SpreadRows::window(Range rows, size_t column, size_t column_step, size_t columns) {
    next_ = std::max(next_, rows.begin);
    for (; next_ < rows.end; ++next_) fill(next_, memory_ + next_ % ring_rows_ * row_size_);
    const size_t pixel = groups_.in * width_;
    return {.ring = memory_ + column * pixel,
            .ring_rows = ring_rows_,
            .first = rows.begin % ring_rows_,
            .row_size = row_size_,
            .rows = rows.size(),
            .depth = columns * groups_.in,
            .width = width_,
            .pixel_step = column_step * pixel};
}

void SpreadRows::fill(size_t row, float* target) const {
    const Frame& f = frame_;
    const bool inside = row >= f.top && row - f.top < f.height;
    const size_t begin = inside ? std::min(f.left, f.columns) : f.columns;
    const size_t end = inside ? std::min(f.left + f.width, f.columns) : f.columns;
    const size_t pixel = groups_.in * width_;
    std::fill(target, target + begin * pixel, 0.0f);
    std::fill(target + end * pixel, target + row_size_, 0.0f);
    if (begin == end) return;
    const float* image_row = image_ + (row - f.top) * f.width * f.pixel;
    for (size_t v = 0; v < vectors_; ++v) {
        for (size_t c = 0; c < groups_.in; ++c) {
            const size_t channel = sources_[v].channel + c;
            k_.spread(end - begin, image_row + channel, f.pixel, f.pixel - channel,
                      sources_[v].order.data(), target + begin * pixel + c * width_ + v * k_.lanes,
                      pixel);
        }
    }
}

}  // namespace alexnet::cpu::depthwise
