// A warp's part of the tile product: 32 × 64 elements of C, kept in registers, 64 a thread.
//
// Both precisions read the same tiles from shared memory. A tile of an operand whose depth is
// contiguous lies there as [row][depth], any other as [depth][row]: as the asynchronous copy has
// brought it, 16 bytes at a time. What follows chooses which rows a lane owns, so that every read
// is of 8 or 16 bytes and no two lanes that are served together want different words of one bank
// (32 banks of 4 bytes; 16-byte reads are served 8 lanes at a time, 8-byte reads 16 at a time).
//
// float32: lanes stand as 4 × 8; each multiplies 8 rows by 8 columns with FMAs, exact to the last
//   rounding. [depth][row]: a lane takes 4 neighbouring rows at once, the 8 lanes of a row of lanes
//   4 · 8 = 32 neighbouring words. [row][depth]: a lane takes 4 depths of a row at once; rows are
//   kTileDepth + 4 = 20 words apart, so that 8 neighbouring rows begin in banks 0, 20, 8, 28, 16,
//   4, 24, 12.
// tf32: mma.m16n8k8 with lane = 4 · q + c. The hardware wants of A rows q and q + 8, depths c and
//   c + 4; of B column q, the same depths; and gives of C rows q and q + 8, columns 2c and 2c + 1.
//   Neither the order of depths nor that of rows matters as long as both operands agree, so depths
//   c and c + 4 are taken from 2c and 2c + 1 of the tile: neighbours, one read of 8 bytes from
//   [row][depth] (rows 24 words apart: 4 rows × 4 lanes × 2 words, all banks once). From
//   [depth][row], 16 bytes at row 4q serve four 8-row fragments at once, fragment t having rows
//   4q + t (depths 4 mod 32 words apart: those of 2c and 2c + 2 differ by 8 banks, q by 4).
//   Operands are rounded to the nearest tf32 (10 bits of mantissa) on their way to the registers.

#ifndef ALEXNET_CUDA_GEMM_FRAGMENTS_CUH_
#define ALEXNET_CUDA_GEMM_FRAGMENTS_CUH_

#include <cstdint>

#include "alexnet/precision.h"
#include "device.cuh"

namespace alexnet::cuda {

constexpr int kWarpRows = 32, kWarpColumns = 64;  // of C
constexpr int kTileDepth = 16;                    // of the operands, a step of the main loop

// Floats from one line of a tile in shared memory to the next.
template <Precision precision, bool depth_contiguous, int rows>
constexpr int kTileStride = depth_contiguous ? kTileDepth + (precision == Precision::kTf32 ? 8 : 4)
                                             : rows + (precision == Precision::kTf32 ? 4 : 0);

template <bool a_depth_contiguous, bool b_depth_contiguous>
struct Float32Fragment {
    static constexpr int kRows = 8, kColumns = 8;  // of C, a thread

    float sum[kRows][kColumns] = {};

    static __device__ int row(int lane, int i) { return lane / 8 * 4 + i % 4 + i / 4 * 16; }
    static __device__ int column(int lane, int j) {
        return b_depth_contiguous ? lane % 8 + j * 8 : lane % 8 * 4 + j % 4 + j / 4 * 32;
    }
    __device__ float& at(int i, int j) { return sum[i][j]; }

    // Add the product of kTileDepth depths; a and b are the warp's first row and column.
    template <int a_stride, int b_stride>
    __device__ void add_product(const float* a, const float* b, int lane) {
#pragma unroll
        for (int k = 0; k < kTileDepth; k += 4) {
            float left[4][kRows];
            if constexpr (a_depth_contiguous) {
#pragma unroll
                for (int i = 0; i < kRows; ++i) {
                    read4(a + row(lane, i) * a_stride + k, [&](int d, float v) { left[d][i] = v; });
                }
            } else {
#pragma unroll
                for (int d = 0; d < 4; ++d) {
#pragma unroll
                    for (int i = 0; i < kRows; i += 4) {
                        read4(a + (k + d) * a_stride + row(lane, i),
                              [&](int e, float v) { left[d][i + e] = v; });
                    }
                }
            }
#pragma unroll
            for (int j = 0; j < kColumns; j += b_depth_contiguous ? 1 : 4) {
                if constexpr (b_depth_contiguous) {
                    read4(b + column(lane, j) * b_stride + k,
                          [&](int d, float v) { add_column(left[d], j, v); });
                } else {
#pragma unroll
                    for (int d = 0; d < 4; ++d) {
                        read4(b + (k + d) * b_stride + column(lane, j),
                              [&](int e, float v) { add_column(left[d], j + e, v); });
                    }
                }
            }
        }
    }

  private:
    template <class Use>
    static __device__ void read4(const float* source, Use use) {
        const float4 v = *reinterpret_cast<const float4*>(source);
        use(0, v.x);
        use(1, v.y);
        use(2, v.z);
        use(3, v.w);
    }

    __device__ void add_column(const float (&left)[kRows], int j, float right) {
#pragma unroll
        for (int i = 0; i < kRows; ++i) sum[i][j] = fmaf(left[i], right, sum[i][j]);
    }
};

template <bool a_depth_contiguous, bool b_depth_contiguous>
struct Tf32Fragment {
    static constexpr int kRows = 4, kColumns = 16;         // of C, a thread
    static constexpr int kRowTiles = 2, kColumnTiles = 8;  // of 16 rows; of 8 columns

    float sum[kRowTiles][kColumnTiles][4] = {};

    // Row i of a thread is half i % 2 of row tile i / 2.
    static __device__ int row(int lane, int i) {
        return a_depth_contiguous ? i * 8 + lane / 4 : lane / 4 * 4 + i;
    }
    // Columns are numbered so that four of them, from a multiple of four on, are neighbours in C
    // where b's rows are: j = 8 · block + 4 · e + t is element e of column tile 4 · block + t.
    static __device__ int column(int lane, int j) {
        return b_depth_contiguous ? j / 2 * 8 + lane % 4 * 2 + j % 2
                                  : j / 8 * 32 + lane % 4 * 8 + j % 8;
    }
    __device__ float& at(int i, int j) {
        const int tile = b_depth_contiguous ? j / 2 : j / 8 * 4 + j % 4;
        const int e = b_depth_contiguous ? j % 2 : j / 4 % 2;
        return sum[i / 2][tile][i % 2 * 2 + e];
    }

    template <int a_stride, int b_stride>
    __device__ void add_product(const float* a, const float* b, int lane) {
#pragma unroll
        for (int k = 0; k < kTileDepth; k += 8) {
            uint32_t left[kRowTiles][4], right[kColumnTiles][2];
            read_rows<a_depth_contiguous, a_stride>(
                a, k, lane, kRowTiles * 2,
                [&](int i, int e, float v) { left[i / 2][i % 2 + 2 * e] = to_tf32(v); });
            read_rows<b_depth_contiguous, b_stride>(
                b, k, lane, kColumnTiles, [&](int j, int e, float v) { right[j][e] = to_tf32(v); });
#pragma unroll
            for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
                for (int j = 0; j < kColumnTiles; ++j) mma_tf32(sum[i][j], left[i], right[j]);
            }
        }
    }

  private:
    // Elements (row of fragment t, depth 2c + e) for t in [0, count): passed on as use(t, e,
    // value).
    template <bool depth_contiguous, int stride, class Use>
    static __device__ void read_rows(const float* tile, int k, int lane, int count, Use use) {
        const int q = lane / 4, depth = k + lane % 4 * 2;
        if constexpr (depth_contiguous) {
#pragma unroll
            for (int t = 0; t < count; ++t) {
                const float* source = tile + (t * 8 + q) * stride + depth;
                const float2 v = *reinterpret_cast<const float2*>(source);
                use(t, 0, v.x);
                use(t, 1, v.y);
            }
        } else {
#pragma unroll
            for (int t = 0; t < count; t += 4) {
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const float* source = tile + (depth + e) * stride + t * 8 + q * 4;
                    const float4 v = *reinterpret_cast<const float4*>(source);
                    use(t, e, v.x);
                    use(t + 1, e, v.y);
                    use(t + 2, e, v.z);
                    use(t + 3, e, v.w);
                }
            }
        }
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_FRAGMENTS_CUH_
