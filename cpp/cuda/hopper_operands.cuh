// How operands of a tile product of Hopper (hopper_gemm.cuh) come into shared memory, and from there
// into products.

#ifndef ALEXNET_CUDA_HOPPER_OPERANDS_CUH_
#define ALEXNET_CUDA_HOPPER_OPERANDS_CUH_

#include <type_traits>

#include "hopper_product.cuh"

namespace alexnet::cuda {

// --- copying -------------------------------------------------------------------------------------

// Channels from a chunk's first on, under a tap, of the windows from number `first` on.
template <class T>
__device__ void copy_windows(const HopperProduct<T>& p, void* target, uint64_t* full,
                             uint32_t first, uint32_t tap, uint32_t chunk) {
    const HopperWindows& w = p.windows;
    const uint32_t line = first / w.across, image = line / w.down;
    const int j = static_cast<int>(first - line * w.across);
    const int i = static_cast<int>(line - image * w.down);
    const uint32_t down = tap / w.taps_across;
    tensor_copy_windows(target, p.a, full, static_cast<int>(chunk * kStepDepth<T>),
                        j * w.stride_w + w.left, i * w.stride_h + w.top, static_cast<int>(image),
                        static_cast<uint16_t>(tap - down * w.taps_across),
                        static_cast<uint16_t>(down));
}

template <class T, class Tile, bool along_depth>
__device__ void copy_a(const HopperProduct<T>& p, uint32_t row, uint32_t step, unsigned char* a,
                       uint64_t* full) {
    const uint32_t chunks = p.windows.chunks, depth = step * kStepDepth<T>;
    if constexpr (along_depth) {
        if (p.convolution) {
            copy_windows(p, a, full, row, step / chunks, step % chunks);
        } else {
            tensor_copy(a, p.a, full, static_cast<int>(depth), static_cast<int>(row));
        }
    } else {
        for (uint32_t box = 0; box < Tile::kRows / kStepDepth<T>; ++box) {
            const uint32_t first = row + kStepDepth<T> * box;
            unsigned char* target = a + box * kBoxBytes<T>;
            if (p.convolution) {  // rows past the last one are not stored: any tap will do
                const uint32_t unit = min(first, p.m - 1) / kStepDepth<T>;
                copy_windows(p, target, full, depth, unit / chunks, unit % chunks);
            } else {
                tensor_copy(target, p.a, full, static_cast<int>(first), static_cast<int>(depth));
            }
        }
    }
}

// B: of float as it was prepared, of 16 bits as the caller has it, under its taps. Of two blocks of a
// cluster each copies half of the columns, or every other box, for both.
template <class T, class Tile, bool along_depth>
__device__ void copy_b(const HopperProduct<T>& p, uint32_t rank, uint32_t column, uint32_t step,
                       unsigned char* b, uint64_t* full) {
    const auto copy = [&](unsigned char* target, auto... coordinates) {
        if (p.blocks == 1) {
            tensor_copy(target, p.b, full, static_cast<int>(coordinates)...);
        } else {
            tensor_multicast(target, p.b, full, static_cast<int>(coordinates)..., uint16_t{3});
        }
    };
    const uint32_t first = rank * (Tile::kColumns / p.blocks);
    if constexpr (std::is_same_v<T, float>) {
        copy(b + first * kRowBytes, step * kStepDepth<T>, column + first);
    } else {
        const uint32_t of_step = step / p.tap_steps;
        const uint32_t depth = (step - of_step * p.tap_steps) * kStepDepth<T>;
        const uint32_t tap = p.last_tap > 0 ? p.last_tap - of_step : of_step;
        if constexpr (along_depth) {
            copy(b + first * kRowBytes, depth, column + first, tap);
        } else {
            for (uint32_t box = rank; box < Tile::kColumns / kStepDepth<T>; box += p.blocks) {
                copy(b + box * kBoxBytes<T>, column + kStepDepth<T> * box, depth, tap);
            }
        }
    }
}

// --- multiplying ---------------------------------------------------------------------------------

// Round a step's part of A, 16 rows of a warp, into the registers of four products. Where depths are
// not neighbours, those of eight are taken in the order 0, 2, 4, 6, 1, 3, 5, 7, as B has them: then
// the lanes read different banks.
template <bool along_depth>
__device__ __forceinline__ void load_a(uint32_t (&registers)[4][4], const float* tile, uint32_t row,
                                       uint32_t lane) {
    constexpr uint32_t kRowFloats = kRowBytes / 4;
    const uint32_t q = lane / 4, c = lane % 4;
    uint32_t start;
    if constexpr (along_depth) {
        start = (row + q) * kRowFloats + q * 4 + c;  // chunk 0 of this row is its chunk q
    } else {
        const uint32_t in_box = row % 32 + q;
        start = row / 32 * (kBoxBytes<float> / 4) + 2 * c * kRowFloats + (in_box / 4 ^ 2 * c) * 4 +
                in_box % 4;
    }
#pragma unroll
    for (uint32_t k = 0; k < 4; ++k) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            const uint32_t lower = i % 2, later = i / 2;  // row + 8; the other four depths
            const uint32_t place =
                along_depth ? (start ^ (2 * k + later) * 4) + lower * 8 * kRowFloats
                            : (start ^ (lower * 8 + later * 4)) + (8 * k + later) * kRowFloats;
            registers[k][i] = to_tf32(tile[place]);
        }
    }
}

// A matrix of 16 bits of a stage, from eight rows or a whole box on, as wgmma takes it, and how much
// is added for each 16 depths.
template <class T, bool along_depth>
struct HopperMatrix {
    static constexpr uint64_t kNext = (along_depth ? 16 * sizeof(T) : 16 * kRowBytes) / 16;
    static __device__ uint64_t at(uint32_t address) {
        return along_depth ? swizzled_matrix(address) : swizzled_columns(address, kBoxBytes<T>);
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_OPERANDS_CUH_
