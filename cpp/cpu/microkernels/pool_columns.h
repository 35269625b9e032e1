// The columns of an image that a pooling window covers.

#ifndef ALEXNET_CPU_MICROKERNELS_POOL_COLUMNS_H_
#define ALEXNET_CPU_MICROKERNELS_POOL_COLUMNS_H_

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// The columns of the image that window `column` covers.
struct Columns {
    size_t first, count;
};

ALEXNET_INLINE Columns columns_of(const PoolRow& row, size_t column) {
    const size_t start = column * row.stride_width;  // counted from the edge of the padding
    const size_t first = start > row.pad_left ? start - row.pad_left : 0;
    const size_t end = start + row.window_width - row.pad_left;
    return {first, (end < row.in_width ? end : row.in_width) - first};
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_POOL_COLUMNS_H_
