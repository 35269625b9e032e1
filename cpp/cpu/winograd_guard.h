// Which images Winograd's algorithm must not compute.
//
// The transforms subtract values of a whole tile from one another, so their error is relative to
// the largest value that the tile sees. That is the error of a sum in float32 only where all
// windows of the tile see values of about that size, or nothing but zeros:
//
//     largest magnitude of each pixel, one tile of 5 × 5 points, windows of 3 × 3
//
//      1  1  1  1  1      1  1    1  1   1      0  0  0  0  0
//      1  2  1  1  1      1  1    1  1   1      0  0  0  0  0
//      1  1  1  3  1      1  1    1  1   1      0  0  0  0  0
//      1  1  1  1  1      1  1    1  1  1e4     0  0  0  1  1
//      1  1  1  1  1      1  1    1  1   1      0  0  0  1  1
//
//      Winograd           direct: a window of   Winograd: a window of zeros
//                         ones has 1e-4 of the  has nothing to lose
//                         tile's largest
//
// An image with a tile like the second, or with a result that is not finite (NaN and infinity
// would spread over the tile, and large values overflow on the way), is computed again by the
// direct algorithm. This depends on the values of that image and on the weights alone. A gradient
// of the weights sums over all images, so it is computed again as a whole.

#ifndef ALEXNET_CPU_WINOGRAD_GUARD_H_
#define ALEXNET_CPU_WINOGRAD_GUARD_H_

#include <atomic>
#include <cstddef>
#include <vector>

#include "gemm.h"

namespace alexnet::cpu::winograd {

// Share of the largest magnitude that a tile sees which each of its windows must have.
constexpr float kLeastShare = 1.0f / 1024;

// The largest magnitude of each pixel over the channels of a group: a grid of rows × columns.
class PixelMagnitudes {
  public:
    // `grid` holds rows · columns floats, which the caller fills in.
    PixelMagnitudes(const KernelTable& k, float* grid, size_t rows, size_t columns)
        : k_(k), grid_(grid), rows_(rows), columns_(columns) {}

    float* row(size_t r) { return grid_ + r * columns_; }

    // Whether all pixels that are not 0 have their share of the largest: then all windows have it.
    bool all_alike() const { return k_.alike(rows_ * columns_, grid_, kLeastShare); }
    // Whether in some columns, a tile's, all windows have it.
    bool tile_is_alike(Range columns, size_t window_rows, size_t window_columns) const;

  private:
    float largest(Range rows, Range columns) const;

    const KernelTable& k_;
    float* grid_;
    size_t rows_, columns_;
};

// The images of a batch that are computed again. Several threads may add to them at once.
class RejectedImages {
  public:
    explicit RejectedImages(size_t images) : is_rejected_(images) {}

    void add(size_t image) { is_rejected_[image].store(true, std::memory_order_relaxed); }
    // body(images) for every range of neighbours.
    template <typename Body>
    void for_each_range(const Body& body) const {
        for (size_t end = 0; end < is_rejected_.size();) {
            const size_t begin = end;
            while (end < is_rejected_.size() && is_rejected_[end] == is_rejected_[begin]) ++end;
            if (is_rejected_[begin]) body(Range{begin, end});
        }
    }

  private:
    std::vector<std::atomic<bool>> is_rejected_;
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_GUARD_H_
