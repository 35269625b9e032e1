#include "column_sums.h"

#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {

void column_sums(size_t rows, size_t columns, const float* x, float* sums) {
    constexpr size_t kChunk = 256;  // rows: enough work to deal out
    const KernelTable& k = kernels();
    const size_t chunks = ceil_div(rows, kChunk);
    const size_t stride = padded(columns);
    double* partial = scratch_doubles(Slot::kDoubleSums, Size{chunks} * stride);
    const size_t grain = std::max<size_t>(1, (size_t{1} << 16) / (kChunk * columns));
    parallel_for(chunks, grain, [&](size_t begin, size_t end) {
        for (size_t c = begin; c < end; ++c) {
            const size_t first = c * kChunk;
            k.sum_rows(std::min(kChunk, rows - first), columns, x + first * columns, columns,
                       partial + c * stride);
        }
    });
    for (size_t j = 0; j < columns; ++j) {
        double sum = 0.0;
        for (size_t c = 0; c < chunks; ++c) sum += partial[c * stride + j];
        sums[j] = static_cast<float>(sum);
    }
}

}  // namespace alexnet::cpu
