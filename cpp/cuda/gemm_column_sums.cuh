// Sums of B's columns, beside a product: the gradient of a bias, B being the gradient of its layer.
//
//   sums[j] = sum over k of B[k,j]
//
// The blocks of C's first rows have all of B in shared memory, tile by tile. Each of their threads
// owns one column of a tile, or several where columns are more than threads, and adds up its depths.
//
// Cost, of those blocks alone: a read of shared memory and an addition for each element of B. A warp
//   reads 32 neighbouring elements of a depth: no bank conflicts (gemm_layout.cuh).
// Numerics: float32 of B as memory has it, not rounded to tf32. Fours of a step's depths are added in
//   order, the sums of kStepsOfChain steps likewise, and such chains: of none more than a few dozen
//   terms, unless depths are many thousands. Depths past the end are zeros in the tile.

#ifndef ALEXNET_CUDA_GEMM_COLUMN_SUMS_CUH_
#define ALEXNET_CUDA_GEMM_COLUMN_SUMS_CUH_

#include <cstdint>
#include <type_traits>

#include "device.cuh"
#include "gemm_layout.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

// Whether a product has rows of C beside which B's columns are to be added up.
template <class Rows, class = void>
constexpr bool kSumsColumns = false;
template <class Rows>
constexpr bool kSumsColumns<Rows, std::enable_if_t<Rows::kSumsColumns>> = true;

template <class T, class Layout, int columns, int threads>
class ColumnSums {
    static constexpr int kOwned = (columns + threads - 1) / threads;
    static constexpr int kStepsOfChain = 64;

  public:
    // Add the depths of a step.
    __device__ void add(const unsigned char* tile, int thread) {
        static_assert(!Layout::kDepthContiguous && Layout::kLines % 4 == 0);
#pragma unroll
        for (int i = 0; i < kOwned; ++i) {
            const int column = thread + i * threads;
            if (column >= columns) break;
            float sum = 0;
#pragma unroll
            for (int depth = 0; depth < Layout::kLines; depth += 4) {
                sum += (at(tile, depth, column) + at(tile, depth + 1, column)) +
                       (at(tile, depth + 2, column) + at(tile, depth + 3, column));
            }
            chain_[i] += sum;
        }
        if (++steps_ == kStepsOfChain) end_chain();
    }

    // Write the sums of columns from `first` on to a line of `count`.
    __device__ void store(float* line, uint32_t first, uint32_t count, int thread) {
        end_chain();
#pragma unroll
        for (int i = 0; i < kOwned; ++i) {
            const int column = thread + i * threads;
            if (column < columns && first + column < count) line[first + column] = total_[i];
        }
    }

  private:
    static __device__ float at(const unsigned char* tile, int depth, int column) {
        constexpr int kChunk = kChunkBytes / sizeof(T);
        const unsigned char* chunk = tile + Layout::offset(depth, column / kChunk);
        return to_float(reinterpret_cast<const T*>(chunk)[column % kChunk]);
    }
    __device__ void end_chain() {
#pragma unroll
        for (int i = 0; i < kOwned; ++i) {
            total_[i] += chain_[i];
            chain_[i] = 0;
        }
        steps_ = 0;
    }

    float chain_[kOwned] = {}, total_[kOwned] = {};
    int steps_ = 0;
};

// What takes its place where nothing is to be added up.
struct NoColumnSums {
    __device__ void add(const unsigned char*, int) {}
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_COLUMN_SUMS_CUH_
