// Sums over the rows of a matrix: the gradient of a bias.

#ifndef ALEXNET_CUDA_COLUMN_SUMS_CUH_
#define ALEXNET_CUDA_COLUMN_SUMS_CUH_

#include <cstddef>

#include "alexnet/cuda_stream.h"

namespace alexnet::cuda {

size_t column_sums_workspace(size_t rows, size_t columns);  // bytes

// sums[j] = sum over i of x[i,j]; x (rows, columns) contiguous, rows may be 0.
// T is float, Bfloat16 or Float16.
template <class T>
void column_sums(size_t rows, size_t columns, const T* x, T* sums, void* workspace, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_COLUMN_SUMS_CUH_
