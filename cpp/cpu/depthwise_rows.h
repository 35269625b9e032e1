// Depthwise convolution and convolution in narrow groups: which shapes, how their channels are cut
// into blocks, and the rows of an image spread over the lanes (microkernels/depthwise.cpp says what
// that means).
//
//     rows of the padded image          ring of the rows that a window sees
//
//     0 0 0 0 0 0 0 0 0
//     0 row 0         0                 slot 0   row 2 ← row 5 comes here
//     0 row 1         0                 slot 1   row 3
//     0 row 2         0        --->     slot 2   row 4
//     ...                               each spread, for one block of channels: it stays in L1

#ifndef ALEXNET_CPU_DEPTHWISE_ROWS_H_
#define ALEXNET_CPU_DEPTHWISE_ROWS_H_

#include <array>

#include "gemm.h"
#include "window_copy.h"

namespace alexnet::cpu::depthwise {

constexpr size_t kMostLanes = 16, kMostVectors = 16;  // of a block of channels

// Groups of `in` channels that contribute to `out` channels each.
struct Groups {
    size_t count, in, out;
};

// Whether register tiles of a group (gemm.h) would leave half of their lanes idle, or more, while
// a sum over `depth` products is no longer than one chain.
bool suits(const KernelTable& k, const Groups& groups, size_t depth);

// Blocks of the channels of all groups, of whole vectors, such that `window_rows` rows of
// `columns` pixels stay in L1 when they are spread.
Panels blocks(const KernelTable& k, const Groups& groups, size_t window_rows, size_t columns);

// The rows of one image in a ring, for one block of channels.
class SpreadRows {
  public:
    // `memory` holds memory_size(...) floats.
    SpreadRows(const KernelTable& k, const Frame& frame, const Groups& groups, size_t width,
               Range channels, size_t ring_rows, const float* image, float* memory);

    static Size memory_size(const Frame& frame, const Groups& groups, size_t width,
                            size_t ring_rows) {
        return Size{ring_rows} * row_size(frame, groups, width);
    }

    // Windows on some rows of the frame, at most as many as the ring has, and none before the first
    // of the call before: one `columns` pixels wide every column_step pixels from `column` on.
    DepthwiseWindow window(Range rows, size_t column, size_t column_step, size_t columns);

  private:
    static Size row_size(const Frame& frame, const Groups& groups, size_t width) {
        return Size{frame.columns} * groups.in * width;
    }
    void fill(size_t row, float* target) const;

    const KernelTable& k_;
    const Frame& frame_;
    const Groups groups_;
    const size_t width_, ring_rows_, row_size_;
    const float* const image_;
    float* const memory_;
    size_t next_ = 0;  // first row that is not in the ring
    size_t vectors_;
    struct Source {
        size_t channel;  // of x, for the first product of a tap
        std::array<int32_t, kMostLanes> order;
    };
    std::array<Source, kMostVectors> sources_;
};

}  // namespace alexnet::cpu::depthwise

#endif  // ALEXNET_CPU_DEPTHWISE_ROWS_H_
