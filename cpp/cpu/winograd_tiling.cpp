// The cutting of axes and images into tiles; winograd_tiling.h has the drawing.

#include "winograd_tiling.h"

namespace alexnet::cpu::winograd {

Axis::Axis(size_t length, size_t window_size) : window(window_size) {
    const size_t most = std::min(kMostValues, kWinogradPoints - window + 1);
    tiles = ceil_div(length, most);
    base = length / tiles;
    longer = length % tiles;
}

size_t Tiling::products() const {
    size_t sum = 0;
    for (size_t e = 0; e < elements(); ++e) sum += tiles_with(e, {0, vertical.tiles});
    return sum;
}

Problem::Problem(const Conv2dShape& s)
    : stride(s.stride_height),
      window_height(ceil_div(s.kernel_height, stride)),
      window_width(ceil_div(s.kernel_width, stride)),
      group_in(s.group_in() * stride * stride),
      tiling(s.out_height, s.out_width, window_height, window_width) {}

size_t rows_per_block(const Conv2dShape& s, const Problem& p, size_t floats) {
    const size_t total = s.batch * p.tiling.vertical.tiles;
    const size_t channels = p.group_in * s.groups + s.out_channels;
    const size_t row = p.tiling.products() * channels / p.tiling.vertical.tiles;
    return ceil_div(total, ceil_div(total, std::max(floats / row, size_t{1})));
}

void ElementPointers::find() {
    const size_t width = tiling_.horizontal.most_points();
    count_ = 0;
    for (size_t i = 0; i < tiling_.vertical.points(row_ % tiling_.vertical.tiles); ++i) {
        const size_t above = tiling_.rows_with(i, row_) - tiling_.rows_with(i, first_row_);
        for (size_t j = 0; j < tiling_.horizontal.points(tile_); ++j) {
            const size_t tile = above * tiling_.horizontal.tiles_with(j) + tile_;
            pointers_[count_++] = matrices_[i * width + j] + tile * matrices_.strides.row;
        }
    }
}

float* const* ElementPointers::next() {
    // The elements change only where the longer tiles end.
    if (tile_ == 0 || tile_ == tiling_.horizontal.longer) {
        find();
    } else {
        for (size_t i = 0; i < count_; ++i) pointers_[i] += matrices_.strides.row;
    }
    ++tile_;
    return pointers_;
}

}  // namespace alexnet::cpu::winograd
