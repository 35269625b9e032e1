// How a tile of an operand lies in shared memory.
//
// As the asynchronous copy brings it, in chunks of 16 bytes: a tile of an operand whose depth is
// contiguous as lines of one row, 64 bytes of depths each, any other as lines of one depth.
// Shared memory has 32 banks of 4 bytes and serves 8 chunks at a time, so any 8 that are read or
// written together have to lie in different eighths of 128 bytes.
//
// For FMAs (gemm_fragment_fma.cuh) lines of a row are 80 bytes apart: 8 neighbouring ones begin in
// banks 0, 20, 8, 28, 16, 4, 24, 12. Lines of a depth are read 8 neighbouring chunks at a time.
// For tensor cores (gemm_fragment_mma.cuh) the chunks change places within 128 bytes instead, each
// with the one whose number differs by a mask:
//   [row][depth]  rows 2i and 2i + 1 are one line of 128 bytes. Read together are rows 4 apart; the
//                 mask row / 4 mod 8 sends their chunks to the eight eighths.
//   [depth][row]  read together are two neighbouring chunks of four neighbouring depths; the mask is
//                 2 · (depth mod 4). Of elements of 16 bits it is one chunk of eight neighbouring
//                 depths, and the mask depth mod 8, or depth / 2 mod 4 where two depths share 128 bytes.

#ifndef ALEXNET_CUDA_GEMM_LAYOUT_CUH_
#define ALEXNET_CUDA_GEMM_LAYOUT_CUH_

#include <cstdint>

#include "device.cuh"

namespace alexnet::cuda {

constexpr int kChunkBytes = 16;

// Depths of a step of the main loop: 64 bytes of each row.
template <class T>
constexpr int kTileDepth = 64 / sizeof(T);

template <bool tensor_cores, class T, bool depth_contiguous, int rows>
struct TileLayout {
    static constexpr bool kDepthContiguous = depth_contiguous;
    static constexpr bool kSwizzled = tensor_cores;
    static constexpr int kLines = depth_contiguous ? rows : kTileDepth<T>;
    static constexpr int kLineBytes =
        depth_contiguous ? (kSwizzled ? 64 : 80) : rows * static_cast<int>(sizeof(T));
    static constexpr int kBytes = kLines * kLineBytes;
    // Lines as many apart have the same mask.
    static constexpr int kPeriod = !kSwizzled ? 1 : depth_contiguous ? 32 : sizeof(T) == 4 ? 4 : 8;

    // Bytes from the tile's beginning to a chunk of a line.
    static __device__ constexpr int offset(int line, int chunk) {
        if constexpr (!kSwizzled) return line * kLineBytes + chunk * kChunkBytes;
        if constexpr (depth_contiguous) {
            return line / 2 * 128 + ((line % 2 * 4 + chunk) ^ line / 4 % 8) * kChunkBytes;
        }
        const int mask = sizeof(T) == 4 ? line % 4 * 2 : rows == 32 ? line / 2 % 4 : line % 8;
        return line * kLineBytes + (chunk ^ mask) * kChunkBytes;
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_LAYOUT_CUH_
