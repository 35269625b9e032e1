// Max pooling: forward, each thread owns a range of output rows; backward, a range of rows of dx,
// for which it searches every window that touches them. The sums over windows that overlap run in
// the order of the windows, wherever the range begins. The formulas, cost and numerics are in
// microkernels/max_pool2d.cpp.

#include "alexnet/max_pool2d.h"

#include <algorithm>

#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kGrain = 1 << 15;  // floats of x a thread at least: below it a team costs more

// The rows of the image that the windows of one output row cover.
struct Rows {
    size_t first, end;
};

Rows rows_of(const Pool2dShape& shape, size_t out_row) {
    const size_t start = out_row * shape.stride_height;  // counted from the edge of the padding
    return {start - std::min(start, shape.pad_top),
            std::min(start + shape.window_height - shape.pad_top, shape.in_height)};
}

PoolRow pool_row(const Pool2dShape& shape, const Rows& rows) {
    return {rows.end - rows.first, shape.in_width,     shape.out_width, shape.channels,
            shape.window_width,    shape.stride_width, shape.pad_left};
}

// The rows [begin, end) of one image's dx; dy, x and dx are those of the image.
void backward_rows(const KernelTable& k, const Pool2dShape& shape, size_t begin, size_t end,
                   const float* dy, const float* x, bool through_relu, float* dx) {
    const size_t in_row = shape.in_width * shape.channels;
    const size_t out_row = shape.out_width * shape.channels;
    size_t cleared = begin;  // rows of dx before it have been set to zero, just before their use
    const auto clear = [&](size_t row) {
        if (row <= cleared) return;
        std::fill(dx + cleared * in_row, dx + row * in_row, 0.0f);
        cleared = row;
    };
    size_t finished = begin;  // rows of dx before it are complete, the ReLU's gradient included
    const auto finish = [&](size_t row) {
        if (!through_relu || row <= finished) return;
        const size_t first = finished * in_row;
        k.relu_backward((row - finished) * in_row, dx + first, x + first, dx + first);
        finished = row;
    };
    // Windows of the rows before this one end above `begin`.
    const size_t reach = begin + shape.pad_top + 1;
    size_t oh = reach > shape.window_height
                    ? (reach - shape.window_height + shape.stride_height - 1) / shape.stride_height
                    : 0;
    for (; oh < shape.out_height; ++oh) {
        const Rows rows = rows_of(shape, oh);
        if (rows.first >= end) break;
        finish(rows.first);
        clear(std::min(rows.end, end));
        const size_t start = rows.first * in_row;
        k.max_pool2d_backward_row(pool_row(shape, rows), dy + oh * out_row, x + start, dx + start,
                                  std::max(begin, rows.first) - rows.first,
                                  std::min(end, rows.end) - rows.first);
    }
    clear(end);
    finish(end);
}

}  // namespace

void max_pool2d(const Pool2dShape& shape, const float* x, float* y) {
    const KernelTable& k = kernels();
    const size_t in_row = shape.in_width * shape.channels;
    const size_t out_row = shape.out_width * shape.channels;
    const size_t rows = shape.batch * shape.out_height;
    const size_t row_work = std::min(shape.stride_height, shape.in_height) * in_row;
    parallel_for(rows, std::max<size_t>(kGrain / row_work, 1), [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const size_t image = row / shape.out_height;
            const Rows window = rows_of(shape, row % shape.out_height);
            k.max_pool2d_row(pool_row(shape, window),
                             x + (image * shape.in_height + window.first) * in_row,
                             y + row * out_row);
        }
    });
}

void max_pool2d_backward(const Pool2dShape& shape, const float* dy, const float* x,
                         bool through_relu, float* dx) {
    const KernelTable& k = kernels();
    const size_t image_in = shape.in_height * shape.in_width * shape.channels;
    const size_t image_out = shape.out_height * shape.out_width * shape.channels;
    const size_t rows = shape.batch * shape.in_height;
    const size_t grain = std::max<size_t>(kGrain / (shape.in_width * shape.channels), 1);
    parallel_for(rows, grain, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end;) {
            const size_t image = row / shape.in_height;
            const size_t first = image * shape.in_height;
            const size_t last = std::min(end, first + shape.in_height);
            backward_rows(k, shape, row - first, last - first, dy + image * image_out,
                          x + image * image_in, through_relu, dx + image * image_in);
            row = last;
        }
    });
}

}  // namespace alexnet::cpu
