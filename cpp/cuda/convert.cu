// y = x in another type: images and gradients on their way into a network of 16 bits, results on
// their way out, and the rounded copy of its parameters.
//
// Cost: no FLOP, 6 bytes an element: memory-bound.
// Threads: as elementwise.cuh deals elements out.
// Numerics: into 16 bits rounded to nearest, ties to even, and infinite beyond the largest number;
//   into float exact. NaN stays NaN.

#include "alexnet/convert.h"
#include "elementwise.cuh"

namespace alexnet::cuda {
namespace {

struct Same {
    __device__ void operator()(float& y, float x) const { y = x; }
};

}  // namespace

template <class From, class To>
void convert(size_t n, const From* x, To* y, Stream stream) {
    launch_elementwise("convert", n, stream, Same{}, Write<To>{y}, Read<From>{x});
}

template void convert(size_t, const float*, Bfloat16*, Stream);
template void convert(size_t, const float*, Float16*, Stream);
template void convert(size_t, const Bfloat16*, float*, Stream);
template void convert(size_t, const Float16*, float*, Stream);

}  // namespace alexnet::cuda
