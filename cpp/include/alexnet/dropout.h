// Inverted dropout with a mask that is computed from Philox4x32-10 wherever it is needed.

#ifndef ALEXNET_DROPOUT_H_
#define ALEXNET_DROPOUT_H_

#include <cstddef>
#include <cstdint>

#include "alexnet/cuda_stream.h"

namespace alexnet {
namespace cpu {

// y[i] = scale * x[i] where word i of the stream (seed, offset) is at least `threshold`, else 0,
// i < n. threshold <= 2^32. y may be x. The gradient is the same function of dy.
void dropout(size_t n, uint64_t seed, uint64_t offset, uint64_t threshold, float scale,
             const float* x, float* y);

}  // namespace cpu

namespace cuda {

// The same. Where `later`, in the device's memory, is not null, seed and offset are the two numbers
// that stand there when the kernel runs: so the same launch serves every run of a CUDA graph.
// T: float, Bfloat16 or Float16 (storage.h).
template <class T>
void dropout(size_t n, uint64_t seed, uint64_t offset, const uint64_t* later, uint64_t threshold,
             float scale, const T* x, T* y, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_DROPOUT_H_
