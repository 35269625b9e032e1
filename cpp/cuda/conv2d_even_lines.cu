// even[l,i] = x[l,i] where i < elements, else 0        for all lines l of all images
//
// Shapes: x (lines, elements); even (lines, elements rounded up to whole pixels and eights).
// Cost: no FLOP, both arrays once through memory: memory-bound. 32 images of 227 × 227 pixels of
//   3 channels in float32: 40.0 MB.
// Threads: each owns an aligned four of `even`. A warp reads 128 neighbouring elements, in four turns
//   that find the same sectors in L1.
// Numerics: bits are copied.

#include "conv2d_even_lines.cuh"
#include "launch.cuh"

namespace alexnet::cuda {
namespace {

template <class T>
struct alignas(4 * sizeof(T)) Four {
    T at[4];
};

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    even_lines(uint32_t count, Divisor fours_of_line, uint32_t elements, const T* x,
               Four<T>* even) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= count) return;
    const uint32_t line = fours_of_line.quotient(index);
    const uint32_t first = (index - line * fours_of_line.value()) * 4;
    const T* source = x + size_t{line} * elements + first;
    Four<T> four = {};
#pragma unroll
    for (uint32_t e = 0; e < 4; ++e) {
        if (first + e < elements) four.at[e] = source[e];
    }
    even[index] = four;
}

}  // namespace

template <class T>
void write_even_lines(const Conv2dShape& s, const T* x, T* even, Stream stream) {
    const size_t fours = with_even_lines(s).in_width * s.in_channels / 4;
    const size_t count = s.batch * s.in_height * fours;
    launch("even_lines", even_lines<T>, blocks_for(count), kBlockThreads, 0, stream,
           gemm_index(count), Divisor(fours), gemm_index(s.in_width * s.in_channels), x,
           reinterpret_cast<Four<T>*>(even));
}

#define ALEXNET_INSTANTIATE(T) \
    template void write_even_lines(const Conv2dShape&, const T*, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
