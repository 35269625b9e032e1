// Max pooling: forward, each thread owns a range of output rows; backward, a range of rows of dx,
// for which it searches every window that touches them. The sums over windows that overlap run in
// the order of the windows, wherever the range begins. The formulas, cost and numerics are in
// microkernels/max_pool2d.cpp, and for bfloat16, which has a forward only, in max_pool2d_bf16.cpp there.

#include "alexnet/max_pool2d.h"

#include <algorithm>

#include "alexnet/bfloat16.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "pool_rows.h"
#include "scratch.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kTasksAThread = 4;  // each searches the windows across its first row again
constexpr size_t kGrain = 1 << 15;   // floats of x a thread at least: below it a team costs more

// The rows of one image's dx to which windows still add, in working memory: they come and go in
// order. A complete row is streamed to dx, so that no line of dx has to come from the core that
// wrote it last.
class OpenRows {
  public:
    // `memory` holds memory_size(shape) floats; x and dx are those of the image. x is read with
    // `through_relu` only.
    OpenRows(const KernelTable& k, const Pool2dShape& shape, size_t begin, const float* x,
             bool through_relu, float* dx, float* memory)
        : k_(k),
          row_(row_size(shape)),
          x_(through_relu ? x : nullptr),
          dx_(dx),
          memory_(memory + most_rows(shape) * row_),
          first_(begin),
          end_(begin) {}

    // The rows of a window, and as many before them, which are addressed and never touched.
    static Size memory_size(const Pool2dShape& shape) {
        return Size{2} * most_rows(shape) * row_size(shape);
    }

    // Begins the rows before `end`, with zeros.
    void open(size_t end) {
        if (end <= end_) return;
        std::fill((*this)[end_], (*this)[end], 0.0f);
        end_ = end;
    }

    // Completes the rows before `end`.
    void close(size_t end) {
        const size_t last = std::min(end, end_);
        if (first_ < last) {
            for (size_t row = first_; row < last; ++row) finish(row, (*this)[row]);
            std::copy((*this)[last], (*this)[end_], memory_);
            first_ = last;
        }
        while (first_ < end) {  // no window had them, and none is open
            std::fill_n(memory_, row_, 0.0f);
            finish(first_, memory_);
            end_ = ++first_;
        }
    }

    float* operator[](size_t row) const {
        return memory_ + static_cast<ptrdiff_t>(row - first_) * static_cast<ptrdiff_t>(row_);
    }

  private:
    static size_t row_size(const Pool2dShape& shape) { return shape.in_width * shape.channels; }
    // Of the image, under a window.
    static size_t most_rows(const Pool2dShape& shape) {
        return std::min(shape.window_height, shape.in_height);
    }

    void finish(size_t row, const float* sums) const {
        k_.max_pool2d_finish(row_, sums, x_ ? x_ + row * row_ : nullptr, dx_ + row * row_);
    }

    const KernelTable& k_;
    size_t row_;
    const float* x_;
    float *dx_, *memory_;
    size_t first_, end_;  // rows that are open
};

// The rows [begin, end) of one image's dx; dy and x are those of the image.
void backward_rows(const KernelTable& k, const Pool2dShape& shape, size_t begin, size_t end,
                   const float* dy, const float* x, OpenRows open_rows) {
    const size_t in_row = shape.in_width * shape.channels;
    const size_t out_row = shape.out_width * shape.channels;
    for (size_t oh = first_reaching(shape, begin); oh < shape.out_height; ++oh) {
        const PooledRows rows = rows_of(shape, oh);
        if (rows.first >= end) break;
        open_rows.close(std::max(begin, rows.first));
        open_rows.open(std::min(rows.end, end));
        k.max_pool2d_backward_row(pool_row(shape, rows), dy + oh * out_row, x + rows.first * in_row,
                                  open_rows[rows.first], std::max(begin, rows.first) - rows.first,
                                  std::min(end, rows.end) - rows.first);
    }
    open_rows.close(end);
}

// As for_each_pooled_row, for every row of y.
template <class T, class Row>
void for_each_row(const Pool2dShape& shape, const T* x, T* y, const Row& row) {
    const size_t row_work =
        std::min(shape.stride_height, shape.in_height) * shape.in_width * shape.channels;
    const size_t grain = kGrain * sizeof(float) / sizeof(T) / row_work;
    parallel_for(
        shape.batch * shape.out_height, std::max<size_t>(grain, 1),
        [&](size_t begin, size_t end) { for_each_pooled_row(shape, {begin, end}, x, y, row); });
}

}  // namespace

void max_pool2d(const Pool2dShape& shape, const float* x, float* y) {
    const KernelTable& k = kernels();
    for_each_row(shape, x, y, [&](const PoolRow& windows, const float* from, float* to) {
        k.max_pool2d_row(windows, from, to, nullptr);
    });
}

void max_pool2d_bf16(const Pool2dShape& shape, const uint16_t* x, uint16_t* y) {
    const Bf16Kernels& k = *kernels().bf16;
    for_each_row(shape, x, y, [&](const PoolRow& windows, const uint16_t* from, uint16_t* to) {
        k.max_pool2d_row(windows, from, to);
    });
}

void max_pool2d_backward(const Pool2dShape& shape, const float* dy, const float* x,
                         bool through_relu, float* dx) {
    const KernelTable& k = kernels();
    const size_t image_in = shape.in_height * shape.in_width * shape.channels;
    const size_t image_out = shape.out_height * shape.out_width * shape.channels;
    const size_t rows = shape.batch * shape.in_height;
    const size_t grain = std::max<size_t>(kGrain / (shape.in_width * shape.channels), 1);
    const int threads = useful_threads(rows, grain);
    const auto team = static_cast<size_t>(threads);
    const size_t tasks = std::clamp(rows / grain, team, kTasksAThread * team);
    const Slices memory(Slot::kThreadMemory, team, OpenRows::memory_size(shape));
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const Range range = part(rows, tasks, task);
        for (size_t row = range.begin; row < range.end;) {
            const size_t image = row / shape.in_height;
            const size_t first = image * shape.in_height;
            const size_t last = std::min(range.end, first + shape.in_height);
            const float* image_x = x + image * image_in;
            backward_rows(k, shape, row - first, last - first, dy + image * image_out, image_x,
                          {k, shape, row - first, image_x, through_relu, dx + image * image_in,
                           memory[thread]});
            row = last;
        }
        k.stream_fence();
    });
}

}  // namespace alexnet::cpu
