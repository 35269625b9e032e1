// Loops that do one thing as fast as the machine can, to be timed: the scale that kernels are
// measured against.

#ifndef ALEXNET_PEAK_H_
#define ALEXNET_PEAK_H_

#include <cstddef>

namespace alexnet::cpu {

// Arrays of the two loops over memory are multiples of this many floats, and as aligned in bytes.
constexpr size_t kPeakBlock = 128;

// Fused multiply-adds on registers, `steps` rounds of them on every thread. Returns the FLOP done.
size_t fma_loop(size_t steps);

// Reads x[0..n) once; every thread a part.
void read_loop(size_t n, const float* x);

// Copies x[0..n) to y with non-temporal stores; every thread a part.
void copy_loop(size_t n, const float* x, float* y);

}  // namespace alexnet::cpu

#endif  // ALEXNET_PEAK_H_
