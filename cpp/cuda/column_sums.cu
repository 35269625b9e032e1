// Sums over the rows of a matrix, in a fixed order: the gradient of a bias.
//
//   sums[j] = sum over i of x[i,j]                                   x (rows, columns), contiguous
//
// Cost: rows · columns FLOP, and x read once: memory-bound.
// Blocks: each owns 8 runs of columns, 16 bytes each where their number and the address allow it,
//   else one, of kBlockRows rows; its threads sum every 64th row of a run. Lanes of a warp hold
//   four rows of the 8 runs: their sums are added by shuffles, those of the 16 warps in order in
//   shared memory. Where there is more than one block down, the same kernel sums their sums.
// Numerics: float32, chains of at most kBlockRows / 64 = 4 rows, a tree of 4, chains of 16, and in
//   the second pass of rows / 16384 and the same again. The order depends on the shape alone.

#include "column_sums.cuh"
#include "gemm_launch.cuh"
#include "storage.cuh"

namespace alexnet::cuda {
namespace {

constexpr int kRuns = 8, kWarps = 16;
constexpr int kRows = kWarps * kWarp / kRuns;  // at a time
constexpr size_t kBlockRows = 256;

template <class T, int width>
__global__ void __launch_bounds__(kWarp* kWarps)
    sum_rows(size_t rows, size_t columns, size_t block_rows, unsigned across, const T* x,
             float* sums) {
    constexpr int kColumns = kRuns * width;
    float* partial = dynamic_shared<float>();  // (kWarps, kColumns)
    const auto thread = static_cast<int>(threadIdx.x);
    const int run = thread % kRuns, warp = thread / kWarp;
    const size_t down = blockIdx.x / across, first = blockIdx.x % across * size_t{kColumns};
    const size_t column = first + run * width, begin = down * block_rows,
                 end = min(rows, begin + block_rows);
    auto sum = Floats<width>::of(0);
    if (column < columns) {
#pragma unroll 4
        for (size_t i = begin + thread / kRuns; i < end; i += kRows) {
            const auto values = load_floats<width>(x + i * columns + column);
#pragma unroll
            for (int c = 0; c < width; ++c) sum.at[c] += values.at[c];
        }
    }
#pragma unroll
    for (int c = 0; c < width; ++c) {
#pragma unroll
        for (int distance = kRuns; distance < kWarp; distance *= 2) {
            sum.at[c] += __shfl_xor_sync(kAllLanes, sum.at[c], distance);
        }
        if (thread % kWarp < kRuns) partial[warp * kColumns + run * width + c] = sum.at[c];
    }
    __syncthreads();
    if (thread >= kColumns || first + thread >= columns) return;
    float all = 0;
    for (int w = 0; w < kWarps; ++w) all += partial[w * kColumns + thread];
    sums[down * columns + first + thread] = all;
}

// As many blocks down as there are `block_rows` rows, each with sums of its own: along one axis of the
// grid, since the others end at 65535.
template <class T>
void launch_sums(size_t rows, size_t columns, size_t block_rows, const T* x, float* sums,
                 Stream stream) {
    const bool vectors = fits_vectors(columns, x);
    const size_t block_columns = kRuns * (vectors ? kVector<T> : 1);
    const size_t down = std::max<size_t>(ceil_div(rows, block_rows), 1);
    const unsigned across = gemm_index(ceil_div(columns, block_columns));
    launch("column_sums", vectors ? sum_rows<T, kVector<T>> : sum_rows<T, 1>,
           gemm_index(across * down), kWarp * kWarps, kWarps * block_columns * sizeof(float),
           stream, rows, columns, block_rows, across, x, sums);
}

}  // namespace

size_t column_sums_workspace(size_t rows, size_t columns) {
    if (rows <= kBlockRows) return 0;
    return Size{ceil_div(rows, kBlockRows)} * columns * sizeof(float);
}

template <class T>
void column_sums(size_t rows, size_t columns, const T* x, float* sums, void* workspace,
                 Stream stream) {
    if (rows <= kBlockRows) return launch_sums(rows, columns, kBlockRows, x, sums, stream);
    const size_t blocks = ceil_div(rows, kBlockRows);
    float* partial = static_cast<float*>(workspace);
    launch_sums(rows, columns, kBlockRows, x, partial, stream);
    launch_sums(blocks, columns, blocks, partial, sums, stream);
}

#define ALEXNET_INSTANTIATE(T) \
    template void column_sums(size_t, size_t, const T*, float*, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
