// A warp's part of the tile product by FMAs: 32 × 64 elements of C, in registers, 64 a lane.
//
// Lanes stand as 4 × 8; each multiplies 8 rows by 8 columns, exact to the last rounding. From a tile
// that lies as [depth][row] a lane takes 4 neighbouring rows at once, the 8 lanes of a row of lanes
// 4 · 8 = 32 neighbouring words. From [row][depth] it takes 4 depths of a row at once, 8 lanes those
// of 8 neighbouring rows. A lane reads 16 bytes of shared memory for 16 FMAs.

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

    float sum[kRows][kColumns] = {};

    static __device__ int row(int lane, int i) { return lane / 8 * 4 + i % 4 + i / 4 * 16; }
    static __device__ int column(int lane, int j) {
        return b_depth_contiguous ? lane % 8 + j * 8 : lane % 8 * 4 + j % 4 + j / 4 * 32;
    }
    __device__ float at(int i, int j) const { return sum[i][j]; }

    // Add the product of a step's depths, of the tiles' rows from a_first and b_first on.
    template <class LayoutA, class LayoutB>
    __device__ void add_product(const unsigned char* a, const unsigned char* b, int a_first,
                                int b_first, int lane) {
#pragma unroll
        for (int k = 0; k < kTileDepth<float>; k += 4) {
            float left[4][kRows];
            if constexpr (a_depth_contiguous) {
#pragma unroll
                for (int i = 0; i < kRows; ++i) {
                    read4(a + a_first * LayoutA::kLineBytes + LayoutA::offset(row(lane, i), k / 4),
                          [&](int d, float v) { left[d][i] = v; });
                }
            } else {
#pragma unroll
                for (int d = 0; d < 4; ++d) {
#pragma unroll
                    for (int i = 0; i < kRows; i += 4) {
                        read4(a + LayoutA::offset(k + d, row(lane, i) / 4) + a_first * 4,
                              [&](int e, float v) { left[d][i + e] = v; });
                    }
                }
            }
#pragma unroll
            for (int j = 0; j < kColumns; j += kRun) {
                if constexpr (b_depth_contiguous) {
                    read4(
                        b + b_first * LayoutB::kLineBytes + LayoutB::offset(column(lane, j), k / 4),
                        [&](int d, float v) { add_column(left[d], j, v); });
                } else {
#pragma unroll
                    for (int d = 0; d < 4; ++d) {
                        read4(b + LayoutB::offset(k + d, column(lane, j) / 4) + b_first * 4,
                              [&](int e, float v) { add_column(left[d], j + e, v); });
                    }
                }
            }
        }
    }

  private:
    template <class Use>
    static __device__ void read4(const unsigned char* source, Use use) {
        const auto v = load_floats<4>(reinterpret_cast<const float*>(source));
#pragma unroll
        for (int i = 0; i < 4; ++i) use(i, v.at[i]);
    }

    __device__ void add_column(const float (&left)[kRows], int j, float right) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] = fmaf(left[i], right, sum[i][j]);
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_FRAGMENT_FMA_CUH_
