// A warp's part of the tile product by FMAs: 32 × 64 elements of C, in registers, 64 a lane.
//
// Lanes stand as 4 × 8; each multiplies 8 rows by 8 columns, exact to the last rounding. From a tile
// that lies as [depth][row] a lane takes 4 neighbouring rows at once, the 8 lanes of a row of lanes
// 4 · 8 = 32 neighbouring words. From [row][depth] it takes 2 depths of a row at once, 8 lanes those
// of 8 neighbouring rows; 4 would be half as many reads, but 16 registers more than there are. A lane
// reads 16 or 8 bytes of shared memory for 16 FMAs.

#ifndef ALEXNET_CUDA_GEMM_FRAGMENT_FMA_CUH_
#define ALEXNET_CUDA_GEMM_FRAGMENT_FMA_CUH_

#include "device.cuh"
#include "gemm_layout.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

template <bool a_depth_contiguous, bool b_depth_contiguous>
struct FmaFragment {
    static constexpr int kRows = 8, kColumns = 8;            // of C, a lane
    static constexpr int kRun = b_depth_contiguous ? 1 : 4;  // neighbours among its columns

    static constexpr int kDepths = a_depth_contiguous || b_depth_contiguous ? 2 : 4;  // at once

    float sum[kRows][kColumns] = {};

    static __device__ int row(int lane, int i) { return lane / 8 * 4 + i % 4 + i / 4 * 16; }
    static __device__ int column(int lane, int j) {
        return b_depth_contiguous ? lane % 8 + j * 8 : lane % 8 * 4 + j % 4 + j / 4 * 32;
    }
    __device__ float at(int i, int j) const { return sum[i][j]; }

    // Add the product of a step's depths; a and b are the warp's first row and column.
    template <class LayoutA, class LayoutB>
    __device__ void add_product(const unsigned char* a, const unsigned char* b, int lane) {
#pragma unroll
        for (int k = 0; k < kTileDepth<float>; k += kDepths) {
            float left[kDepths][kRows];
            if constexpr (a_depth_contiguous) {
#pragma unroll
                for (int i = 0; i < kRows; ++i) {
                    read<kDepths>(place<LayoutA>(a, row(lane, i), k),
                                  [&](int d, float v) { left[d][i] = v; });
                }
            } else {
#pragma unroll
                for (int d = 0; d < kDepths; ++d) {
#pragma unroll
                    for (int i = 0; i < kRows; i += 4) {
                        read<4>(place<LayoutA>(a, k + d, row(lane, i)),
                                [&](int e, float v) { left[d][i + e] = v; });
                    }
                }
            }
#pragma unroll
            for (int j = 0; j < kColumns; j += kRun) {
                if constexpr (b_depth_contiguous) {
                    read<kDepths>(place<LayoutB>(b, column(lane, j), k),
                                  [&](int d, float v) { add_column(left[d], j, v); });
                } else {
#pragma unroll
                    for (int d = 0; d < kDepths; ++d) {
                        read<4>(place<LayoutB>(b, k + d, column(lane, j)),
                                [&](int e, float v) { add_column(left[d], j + e, v); });
                    }
                }
            }
        }
    }

  private:
    // Where float `i` of a line is.
    template <class Layout>
    static __device__ const unsigned char* place(const unsigned char* tile, int line, int i) {
        return tile + Layout::offset(line, i / 4) + i % 4 * sizeof(float);
    }

    template <int count, class Use>
    static __device__ void read(const unsigned char* source, Use use) {
        const auto v = load_floats<count>(reinterpret_cast<const float*>(source));
#pragma unroll
        for (int i = 0; i < count; ++i) use(i, v.at[i]);
    }

    __device__ void add_column(const float (&left)[kRows], int j, float right) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] = fmaf(left[i], right, sum[i][j]);
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_FRAGMENT_FMA_CUH_
