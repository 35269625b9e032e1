// The rows of an image that a row of pooling windows covers, and all rows of windows in turn.

#ifndef ALEXNET_CPU_POOL_ROWS_H_
#define ALEXNET_CPU_POOL_ROWS_H_

#include <algorithm>

#include "alexnet/max_pool2d.h"
#include "gemm.h"
#include "microkernels/kernels.h"

namespace alexnet::cpu {

struct PooledRows {
    size_t first, end;
};

inline PooledRows rows_of(const Pool2dShape& shape, size_t out_row) {
    const size_t start = out_row * shape.stride_height;  // counted from the edge of the padding
    return {start - std::min(start, shape.pad_top),
            std::min(start + shape.window_height - shape.pad_top, shape.in_height)};
}

// The first row of windows that ends below the image's row `row`.
inline size_t first_reaching(const Pool2dShape& shape, size_t row) {
    const size_t reach = row + shape.pad_top + 1;
    return reach > shape.window_height
               ? (reach - shape.window_height + shape.stride_height - 1) / shape.stride_height
               : 0;
}

inline PoolRow pool_row(const Pool2dShape& shape, const PooledRows& rows) {
    return {.rows = rows.end - rows.first,
            .in_width = shape.in_width,
            .out_width = shape.out_width,
            .channels = shape.channels,
            .window_width = shape.window_width,
            // The kernel prefetches the window below: never far beyond the image.
            .stride_height = std::min(shape.stride_height, shape.in_height),
            .stride_width = shape.stride_width,
            .pad_left = shape.pad_left};
}

// row(place of the windows, first row of x that they cover, row of y), for the rows of y in `range`
// of all rows of the batch.
template <class T, class Row>
void for_each_pooled_row(const Pool2dShape& shape, Range range, const T* x, T* y, const Row& row) {
    const size_t in_row = shape.in_width * shape.channels;
    const size_t out_row = shape.out_width * shape.channels;
    for (size_t i = range.begin; i < range.end; ++i) {
        const size_t image = i / shape.out_height;
        const PooledRows windows = rows_of(shape, i % shape.out_height);
        row(pool_row(shape, windows), x + (image * shape.in_height + windows.first) * in_row,
            y + i * out_row);
    }
}

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_POOL_ROWS_H_
