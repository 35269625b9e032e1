// Sums over the rows of a matrix, in a fixed order: the gradient of a bias.
//
//   sums[j] = sum over i of x[i,j]                                   x (rows, columns), contiguous
//
// Cost: rows · columns FLOP and 4 · rows · columns bytes, each read once: memory-bound.
// Blocks: each owns 32 columns of kBlockRows rows; warp w sums rows w, w + 16, … of them, a lane a
//   column, so that a warp reads 128 neighbouring bytes. The 16 sums of a column are added in order
//   in shared memory. Where there is more than one block down, the same kernel sums their sums.
// Numerics: float32, chains of at most kBlockRows / 16 = 16 rows, of 16, and in the second pass of
//   rows / 4096 and 16. The order depends on the shape alone.

#include "column_sums.cuh"
#include "gemm_launch.cuh"

namespace alexnet::cuda {
namespace {

constexpr int kWarps = 16;
constexpr size_t kBlockRows = 256;
constexpr size_t kSharedBytes = kWarps * 32 * sizeof(float);

template <class In, class Out>
__global__ void __launch_bounds__(32 * kWarps)
    sum_rows(size_t rows, size_t columns, size_t block_rows, const In* x, Out* sums) {
    float* partial = dynamic_shared<float>();  // (kWarps, 32)
    const size_t column = size_t{blockIdx.x} * 32 + threadIdx.x;
    const size_t begin = blockIdx.y * block_rows;
    const size_t end = min(rows, begin + block_rows);
    float sum = 0.0f;
    if (column < columns) {
#pragma unroll 4
        for (size_t i = begin + threadIdx.y; i < end; i += kWarps) {
            sum += to_float(x[i * columns + column]);
        }
    }
    partial[threadIdx.y * 32 + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= columns) return;
    for (int w = 1; w < kWarps; ++w) sum += partial[w * 32 + threadIdx.x];
    round_to(sums[blockIdx.y * columns + column], sum);
}

}  // namespace

size_t column_sums_workspace(size_t rows, size_t columns) {
    if (rows <= kBlockRows) return 0;
    return Size{ceil_div(rows, kBlockRows)} * columns * sizeof(float);
}

template <class T>
void column_sums(size_t rows, size_t columns, const T* x, T* sums, void* workspace, Stream stream) {
    const dim3 block(32, kWarps);
    const unsigned across = gemm_index(ceil_div(columns, 32));
    if (rows <= kBlockRows) {
        launch("column_sums", sum_rows<T, T>, dim3(across), block, kSharedBytes, stream, rows,
               columns, kBlockRows, x, sums);
        return;
    }
    const size_t blocks = ceil_div(rows, kBlockRows);
    float* partial = static_cast<float*>(workspace);
    launch("column_sums", sum_rows<T, float>, dim3(across, gemm_index(blocks)), block, kSharedBytes,
           stream, rows, columns, kBlockRows, x, partial);
    launch("column_sums", sum_rows<float, T>, dim3(across), block, kSharedBytes, stream, blocks,
           columns, blocks, partial, sums);
}

template void column_sums(size_t, size_t, const float*, float*, void*, Stream);
template void column_sums(size_t, size_t, const Bfloat16*, Bfloat16*, void*, Stream);
template void column_sums(size_t, size_t, const Float16*, Float16*, void*, Stream);

}  // namespace alexnet::cuda
