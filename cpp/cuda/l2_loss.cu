// Half the sum of squares: Σ x[i]² / 2, and its gradient x.
//
// Cost: 2 FLOP and 4 bytes an element: memory-bound; then one block adds the blocks' sums.
// Blocks: each owns a chunk of fixed size, so that the order of the additions is fixed as well.
// Numerics: squares of floats are exact in double; what additions in double lose is far below the
//   one rounding of the result.

#include "alexnet/l2_loss.h"
#include "elementwise.cuh"
#include "reduce.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kChunk = kBlockThreads * 32;  // floats a block

size_t chunks(size_t n) { return (n + kChunk - 1) / kChunk; }

template <int width>
__global__ void __launch_bounds__(kBlockThreads)
    sum_squares(size_t n, const float* x, double* sums) {
    const size_t first = blockIdx.x * kChunk, end = min(first + kChunk, n);
    double sum = 0;
#pragma unroll 4
    for (size_t i = first + threadIdx.x * width; i < end; i += kBlockThreads * width) {
        const auto values = load_floats<width>(x + i);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            const double v = values.at[c];
            sum = fma(v, v, sum);
        }
    }
    sum = block_sum(sum, dynamic_shared<double>());
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

struct Copy {
    __device__ void operator()(float& dx, float x) const { dx = x; }
};

}  // namespace

size_t l2_loss_workspace(size_t n) { return chunks(n) * sizeof(double); }

void l2_loss(size_t n, const float* x, float* loss, void* workspace, Stream stream) {
    const auto sums = static_cast<double*>(workspace);
    launch("l2_loss", fits_vectors(n, x) ? sum_squares<4> : sum_squares<1>,
           static_cast<unsigned>(chunks(n)), kBlockThreads, kBlockWarps * sizeof(double), stream, n,
           x, sums);
    launch_scaled_sum("l2_loss", chunks(n), sums, 0.5, loss, stream);
}

void l2_loss_backward(size_t n, const float* x, float* dx, Stream stream) {
    launch_elementwise("l2_loss_backward", n, stream, Copy{}, Write<float>{dx}, Read<float>{x});
}

}  // namespace alexnet::cuda
