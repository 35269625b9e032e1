// Max pooling of the bits of bfloat16, forward: each thread owns a range of output rows. The rest is
// in microkernels/max_pool2d_bf16.cpp.

#include "alexnet/bfloat16.h"
#include "dispatch.h"
#include "parallel.h"
#include "pool_rows.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kGrain = 1 << 16;  // elements of x a thread at least: below it a team costs more

}  // namespace

void max_pool2d_bf16(const Pool2dShape& shape, const uint16_t* x, uint16_t* y) {
    const KernelTable& k = kernels();
    const size_t in_row = shape.in_width * shape.channels;
    const size_t out_row = shape.out_width * shape.channels;
    const size_t rows = shape.batch * shape.out_height;
    const size_t row_work = std::min(shape.stride_height, shape.in_height) * in_row;
    parallel_for(rows, std::max<size_t>(kGrain / row_work, 1), [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const size_t image = row / shape.out_height;
            const PooledRows window = rows_of(shape, row % shape.out_height);
            k.bf16->max_pool2d_row(pool_row(shape, window),
                                   x + (image * shape.in_height + window.first) * in_row,
                                   y + row * out_row);
        }
    });
}

}  // namespace alexnet::cpu
