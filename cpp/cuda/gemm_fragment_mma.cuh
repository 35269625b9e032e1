// A warp's part of the tile product on the tensor cores, kept in registers.
//
// An mma multiplies a left operand of 16 rows by a right one of 8 columns, 8 depths of float32 as
// tf32 or 16 of a 16-bit type. With lane = 4 · q + c a lane gives of the left one rows q and q + 8,
// depths c and c + 4, in four neighbouring registers; of the right one column q, the same depths, in
// two; and gets of their product rows q and q + 8, columns 2c and 2c + 1. (Of 16 bits a register has
// two depths, 2c and 2c + 1 for c.) Which rows and columns of C these are is free as long as what is
// read and what is written agree; but what one read brings is neighbours in registers, and an element
// that has to be elsewhere costs a move for every mma. So
//   - from [row][depth] ldmatrix brings the elements as either operand wants them: it takes the
//     addresses of 8 rows, wherever they are, and gives lane (q, c) word c of row q. Of 32 rows,
//     rows 4q to 4q + 3 are rows q and q + 8 of two left operands, or column q of four right ones;
//   - from [depth][row] of float32 a read of 8 bytes brings rows 2q and 2q + 1 of 16 as rows q and
//     q + 8 of a left operand. A right one is read by 4 bytes. So B is the left operand where it lies
//     so, and the product is C transposed. Of 16 bits, ldmatrix transposes 8 × 8 elements.
// No read has bank conflicts (gemm_layout.cuh). Four lanes write 128 neighbouring bytes of a row of
// C, or eight lanes 64; of 16 bits from [depth][row] four lanes 16.
//
// Cost of 8 depths of 64 × 64 elements: 32 mma, 8 to 24 reads, and the rounding of a lane's 32
//   elements to the nearest tf32 (10 bits of mantissa), an instruction each on Hopper, two before.
//   The asynchronous copy can't round, so it is done as often as an element is read: twice in tiles
//   of 128 × 128. Of 16 bits, 16 depths cost 32 mma and 8 reads.

#ifndef ALEXNET_CUDA_GEMM_FRAGMENT_MMA_CUH_
#define ALEXNET_CUDA_GEMM_FRAGMENT_MMA_CUH_

#include <cstdint>

#include "device.cuh"
#include "gemm_layout.cuh"

namespace alexnet::cuda {

template <class T, int warp_rows, int warp_columns, bool a_depth_contiguous,
          bool b_depth_contiguous>
struct MmaFragment {
    static constexpr bool kWords = sizeof(T) == 4;
    static constexpr bool kTransposed = kWords && !b_depth_contiguous;  // B is the left operand
    static constexpr bool kLeftContiguous = !kTransposed && a_depth_contiguous;
    static constexpr bool kRightContiguous = kTransposed ? a_depth_contiguous : b_depth_contiguous;
    static constexpr int kLeftTiles = (kTransposed ? warp_columns : warp_rows) / 16;
    static constexpr int kRightTiles = (kTransposed ? warp_rows : warp_columns) / 8;
    static constexpr int kRows = 2 * (kTransposed ? kRightTiles : kLeftTiles);  // of C, a lane
    static constexpr int kColumns = 2 * (kTransposed ? kLeftTiles : kRightTiles);
    static constexpr int kRun =
        b_depth_contiguous ? 4 : 2;  // neighbours among the columns of a lane
    static_assert(warp_rows % 32 == 0 && warp_columns % 32 == 0);

    float sum[kLeftTiles][kRightTiles][4] = {};

    static __device__ int row(int lane, int i) {
        return kTransposed ? right_place(lane, i) : left_place(lane, i);
    }
    static __device__ int column(int lane, int j) {
        return kTransposed ? left_place(lane, j) : right_place(lane, j);
    }
    __device__ float at(int i, int j) const {
        const int left = kTransposed ? j : i, right = kTransposed ? i : j;
        return sum[left / 2][right_tile(right)][left % 2 * 2 + right_column(right)];
    }

    // Add the product of a step's depths, of the tiles' rows from a_first and b_first on.
    template <class LayoutA, class LayoutB>
    __device__ void add_product(const unsigned char* a, const unsigned char* b, int a_first,
                                int b_first, int lane) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            uint32_t left[kLeftTiles][4], right[kRightTiles][2];
            if constexpr (kTransposed) {
                read_left<LayoutB>(b, b_first, k, lane, left);
                read_right<LayoutA>(a, a_first, k, lane, right);
            } else {
                read_left<LayoutA>(a, a_first, k, lane, left);
                read_right<LayoutB>(b, b_first, k, lane, right);
            }
#pragma unroll
            for (int i = 0; i < kLeftTiles; ++i) {
#pragma unroll
                for (int j = 0; j < kRightTiles; ++j) mma(sum[i][j], left[i], right[j], T{});
            }
        }
    }

  private:
    // Where element i of a lane's elements along the left operand's rows is: half i % 2 of tile i / 2.
    static __device__ int left_place(int lane, int i) {
        const int q = lane / 4;
        if (kLeftContiguous) return i / 4 * 32 + q * 4 + i % 4;
        return i / 2 * 16 + (kWords ? q * 2 + i % 2 : i % 2 * 8 + q);
    }
    // The same for the right operand's columns, in an order that has neighbours next to each other.
    static __device__ int right_tile(int j) { return kRightContiguous ? j / 8 * 4 + j % 4 : j / 2; }
    static __device__ int right_column(int j) { return kRightContiguous ? j / 4 % 2 : j % 2; }
    static __device__ int right_place(int lane, int j) {
        return kRightContiguous ? j / 8 * 32 + lane % 4 * 8 + j % 8
                                : j / 2 * 8 + lane % 4 * 2 + j % 2;
    }

    // Bytes from the first row of 32 to that of pair `pair` of rows in [row][depth].
    static __device__ constexpr int pair_offset(int pair) {
        return (pair / 2 * 32 + pair % 2 * 2) * 64;
    }

    static __device__ uint32_t operand(uint32_t v) {
        return kWords ? to_tf32(__uint_as_float(v)) : v;
    }

    // Depths of chunks 2k and 2k + 1, of all rows of the warp.
    template <class Layout>
    static __device__ void read_left(const unsigned char* tile, int first, int k, int lane,
                                     uint32_t (&left)[kLeftTiles][4]) {
        if constexpr (Layout::kDepthContiguous) {
            // Matrices: rows q, rows q + 8, then both of the next chunk.
            const int row = lane % 8 * 4 + lane / 8 % 2, chunk = 2 * k + lane / 16;
            const unsigned char* mine =
                tile + first * Layout::kLineBytes + Layout::offset(row, chunk);
#pragma unroll
            for (int t = 0; t < kLeftTiles; ++t) {
                load_matrices(left[t], mine + pair_offset(t));
#pragma unroll
                for (uint32_t& v : left[t]) v = operand(v);
            }
        } else if constexpr (!kWords) {
            // Matrices: rows 0 to 7, rows 8 to 15, then both of the next 8 depths.
#pragma unroll
            for (int t = 0; t < kLeftTiles; ++t) {
                load_transposed_matrices(
                    left[t], chunk_of_depth<Layout>(tile, k, lane / 16,
                                                    first / 8 + 2 * t + lane / 8 % 2, lane));
            }
        } else {
            const int q = lane / 4, c = lane % 4;
#pragma unroll
            for (int t = 0; t < kLeftTiles; ++t) {
                const unsigned char* mine = tile + first * 4 + Layout::offset(c, t * 4 + q / 2) +
                                            q % 2 * 8 + 8 * k * Layout::kLineBytes;
#pragma unroll
                for (int i = 0; i < 2; ++i) {  // depths c and c + 4
                    const float2 v =
                        *reinterpret_cast<const float2*>(mine + 4 * i * Layout::kLineBytes);
                    left[t][2 * i] = to_tf32(v.x);
                    left[t][2 * i + 1] = to_tf32(v.y);
                }
            }
        }
    }

    // A chunk of 8 rows of 16 bits at a lane's depth of the first or the second 8.
    template <class Layout>
    static __device__ const unsigned char* chunk_of_depth(const unsigned char* tile, int k,
                                                          int second, int chunk, int lane) {
        return tile + Layout::offset(lane % 8, chunk) + (16 * k + 8 * second) * Layout::kLineBytes;
    }

    template <class Layout>
    static __device__ void read_right(const unsigned char* tile, int first, int k, int lane,
                                      uint32_t (&right)[kRightTiles][2]) {
        if constexpr (Layout::kDepthContiguous) {
            // Matrices: both chunks of the columns of one tile, then those of the next.
            const int row = lane % 8 * 4 + lane / 16, chunk = 2 * k + lane / 8 % 2;
            const unsigned char* mine =
                tile + first * Layout::kLineBytes + Layout::offset(row, chunk);
#pragma unroll
            for (int t = 0; t < kRightTiles; t += 2) {
                uint32_t both[4];
                load_matrices(both, mine + pair_offset(t / 2));
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    right[t + i / 2][i % 2] = operand(both[i]);
                }
            }
        } else if constexpr (!kWords) {
            // Matrices: both halves of the depths of one tile, then those of the next.
#pragma unroll
            for (int t = 0; t < kRightTiles; t += 2) {
                uint32_t both[4];
                load_transposed_matrices(
                    both,
                    chunk_of_depth<Layout>(tile, k, lane / 8 % 2, first / 8 + t + lane / 16, lane));
#pragma unroll
                for (int i = 0; i < 4; ++i) right[t + i / 2][i % 2] = both[i];
            }
        } else {
            const int q = lane / 4, c = lane % 4;
#pragma unroll
            for (int t = 0; t < kRightTiles; ++t) {
                const unsigned char* mine = tile + first * 4 + Layout::offset(c, t * 2 + q / 4) +
                                            q % 4 * 4 + 8 * k * Layout::kLineBytes;
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    right[t][i] =
                        to_tf32(*reinterpret_cast<const float*>(mine + 4 * i * Layout::kLineBytes));
                }
            }
        }
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_FRAGMENT_MMA_CUH_
