// Arrays of float as arrays of 16 bits, and back.

#ifndef ALEXNET_CONVERT_H_
#define ALEXNET_CONVERT_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"
#include "alexnet/storage.h"

namespace alexnet::cuda {

// y = x, rounded to nearest, ties to even; one of the types is float, the other Bfloat16 or Float16.
template <class From, class To>
void convert(size_t n, const From* x, To* y, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CONVERT_H_
