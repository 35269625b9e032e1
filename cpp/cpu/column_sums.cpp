#include "column_sums.h"

#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {

void column_sums(size_t rows, size_t columns, const float* x, float* sums) {
    constexpr size_t kChunk = 256;  // rows; error grows with kChunk + chunks instead of rows
    const KernelTable& k = kernels();
    const size_t chunks = ceil_div(rows, kChunk);
    if (chunks <= 1) {
        k.sum_rows(rows, columns, x, columns, sums);
        return;
    }
    const size_t stride = padded(columns);
    float* partial = scratch(Slot::kPartialSums, chunks * stride);
    const size_t grain = std::max<size_t>(1, (size_t{1} << 16) / (kChunk * columns));
    parallel_for(chunks, grain, [&](size_t begin, size_t end) {
        for (size_t c = begin; c < end; ++c) {
            const size_t first = c * kChunk;
            k.sum_rows(std::min(kChunk, rows - first), columns, x + first * columns, columns,
                       partial + c * stride);
        }
    });
    k.sum_rows(chunks, columns, partial, stride, sums);
}

}  // namespace alexnet::cpu
