// Sums over the rows of a matrix: the bias gradients of convolution and dense layers.

#ifndef ALEXNET_CPU_COLUMN_SUMS_H_
#define ALEXNET_CPU_COLUMN_SUMS_H_

#include <cstddef>

namespace alexnet::cpu {

// sums[j] = sum over r < rows of x[r*columns + j], in double, rounded once. Chunks of a fixed
// number of rows, summed in order, then added in order: the same bits for every number of threads.
void column_sums(size_t rows, size_t columns, const float* x, float* sums);

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_COLUMN_SUMS_H_
