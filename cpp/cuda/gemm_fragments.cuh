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
// tf32: mma.m16n8k8 with lane = 4 · q + c, which multiplies a left operand of 16 rows by a right one
//   of 8 columns. The hardware wants of the left one rows q and q + 8, depths c and c + 4, in four
//   neighbouring registers; of the right one column q, the same depths, in two; and gives of their
//   product rows q and q + 8, columns 2c and 2c + 1. What one read brings is neighbours in registers
//   as well, and anything else costs a move for each element. So the left operand is the one that
//   lies as [depth][row], where there is one: B, and the product is then C transposed. Neither the
//   order of depths nor that of rows matters as long as both operands agree:
//   - depths c and c + 4 are 2c and 2c + 1 of the tile, neighbours, one read of 8 bytes from
//     [row][depth] (rows 24 words apart: 4 rows × 4 lanes × 2 words, all banks once);
//   - rows q and q + 8 of the left operand are 2q and 2q + 1, one read of 8 bytes from [depth][row]
//     (depths 4 mod 32 words apart: those of 2c and 2c + 2 differ by 8 banks, q by 2); the right
//     operand is read from there by 4 bytes (q by 1 bank).
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
    static_assert(a_depth_contiguous || !b_depth_contiguous);
    static constexpr bool kTransposed = !b_depth_contiguous;  // B is the left operand
    static constexpr int kLeftTiles = (kTransposed ? kWarpColumns : kWarpRows) / 16;
    static constexpr int kRightTiles = (kTransposed ? kWarpRows : kWarpColumns) / 8;
    static constexpr int kRows = 2 * (kTransposed ? kRightTiles : kLeftTiles);  // of C, a thread
    static constexpr int kColumns = 2 * (kTransposed ? kLeftTiles : kRightTiles);

    float sum[kLeftTiles][kRightTiles][4] = {};

    static __device__ int row(int lane, int i) {
        return kTransposed ? right_place(lane, i) : left_place(lane, i);
    }
    static __device__ int column(int lane, int j) {
        return kTransposed ? left_place(lane, j) : right_place(lane, j);
    }
    __device__ float& at(int i, int j) {
        const int left = kTransposed ? j : i, right = kTransposed ? i : j;
        return sum[left / 2][right / 2][left % 2 * 2 + right % 2];
    }

    template <int a_stride, int b_stride>
    __device__ void add_product(const float* a, const float* b, int lane) {
#pragma unroll
        for (int k = 0; k < kTileDepth; k += 8) {
            uint32_t left[kLeftTiles][4], right[kRightTiles][2];
            if constexpr (kTransposed) {
                read_left<b_depth_contiguous, b_stride>(b, k, lane, left);
                read_right<a_depth_contiguous, a_stride>(a, k, lane, right);
            } else {
                read_left<a_depth_contiguous, a_stride>(a, k, lane, left);
                read_right<b_depth_contiguous, b_stride>(b, k, lane, right);
            }
#pragma unroll
            for (int i = 0; i < kLeftTiles; ++i) {
#pragma unroll
                for (int j = 0; j < kRightTiles; ++j) mma_tf32(sum[i][j], left[i], right[j]);
            }
        }
    }

  private:
    // Element i of a thread along the left operand's rows: half i % 2 of tile i / 2.
    static __device__ int left_place(int lane, int i) {
        return kTransposed ? i / 2 * 16 + lane / 4 * 2 + i % 2 : i * 8 + lane / 4;
    }
    static __device__ int right_place(int lane, int j) { return j / 2 * 8 + lane % 4 * 2 + j % 2; }

    template <bool depth_contiguous, int stride>
    static __device__ void read_left(const float* tile, int k, int lane,
                                     uint32_t (&left)[kLeftTiles][4]) {
        const int q = lane / 4, depth = k + lane % 4 * 2;
#pragma unroll
        for (int t = 0; t < kLeftTiles; ++t) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                if constexpr (depth_contiguous) {  // i is the half of the tile
                    const float2 v = read2(tile + (t * 16 + i * 8 + q) * stride + depth);
                    left[t][i] = to_tf32(v.x);
                    left[t][i + 2] = to_tf32(v.y);
                } else {  // i is the depth
                    const float2 v = read2(tile + (depth + i) * stride + t * 16 + q * 2);
                    left[t][2 * i] = to_tf32(v.x);
                    left[t][2 * i + 1] = to_tf32(v.y);
                }
            }
        }
    }

    template <bool depth_contiguous, int stride>
    static __device__ void read_right(const float* tile, int k, int lane,
                                      uint32_t (&right)[kRightTiles][2]) {
        const int q = lane / 4, depth = k + lane % 4 * 2;
#pragma unroll
        for (int t = 0; t < kRightTiles; ++t) {
            if constexpr (depth_contiguous) {
                const float2 v = read2(tile + (t * 8 + q) * stride + depth);
                right[t][0] = to_tf32(v.x);
                right[t][1] = to_tf32(v.y);
            } else {
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    right[t][e] = to_tf32(tile[(depth + e) * stride + t * 8 + q]);
                }
            }
        }
    }

    static __device__ float2 read2(const float* source) {
        return *reinterpret_cast<const float2*>(source);
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_FRAGMENTS_CUH_
