// How operands of a tile product of Hopper (hopper_gemm.cuh) come into shared memory, and from there
// into products.

#ifndef ALEXNET_CUDA_HOPPER_OPERANDS_CUH_
#define ALEXNET_CUDA_HOPPER_OPERANDS_CUH_

#include <type_traits>

#include "hopper_product.cuh"

namespace alexnet::cuda {

// --- copying -------------------------------------------------------------------------------------
//
// A step's copies are started by one thread. A division takes it about a hundred cycles, in which a multiprocessor
// multiplies a good part of a step: so what follows from a number is worked out once an item, and
// counted on from step to step.

// A window: its image, its place there.
struct HopperWindow {
    int image, i, j;

    static __device__ HopperWindow of(const HopperWindows& w, uint32_t number) {
        const uint32_t line = number / w.across, image = line / w.down;
        return {static_cast<int>(image), static_cast<int>(line - image * w.down),
                static_cast<int>(number - line * w.across)};
    }
    __device__ void advance(const HopperWindows& w, uint32_t windows) {
        j += static_cast<int>(windows);
        while (j >= static_cast<int>(w.across)) {
            j -= static_cast<int>(w.across);
            if (++i < static_cast<int>(w.down)) continue;
            i = 0;
            ++image;
        }
    }
};

// A step's channels under a tap: one register, of which the copying thread has few. Bits 0-7 the tap's
// place to the right, 8-15 down (maps of windows have no more), 16-31 the chunk of channels.
struct HopperUnit {
    uint32_t packed;

    static __device__ HopperUnit of(const HopperWindows& w, uint32_t number) {
        const uint32_t tap = number / w.chunks, down = tap / w.taps_across;
        return {(number - tap * w.chunks) << 16 | down << 8 | (tap - down * w.taps_across)};
    }
    __device__ uint32_t right() const { return packed & 255; }
    __device__ uint32_t down() const { return packed >> 8 & 255; }
    __device__ uint32_t chunk() const { return packed >> 16; }

    __device__ void advance(const HopperWindows& w) {
        packed += 1 << 16;
        if (chunk() < w.chunks) return;
        packed = (packed & 0xffff) + 1;
        if (right() < w.taps_across) return;
        packed = (down() + 1) << 8;
    }
};

template <class T>
__device__ void copy_windows(const HopperProduct<T>& p, void* target, uint64_t* full,
                             const HopperWindow& first, const HopperUnit& unit) {
    const HopperWindows& w = p.windows;
    tensor_copy_windows(target, p.a, full, static_cast<int>(unit.chunk() * kStepDepth<T>),
                        first.j * w.stride_w + w.left, first.i * w.stride_h + w.top, first.image,
                        static_cast<uint16_t>(unit.right()), static_cast<uint16_t>(unit.down()));
}

// An item's copies of A: depths of the tile's rows or, where depths are not neighbours, boxes of a
// step's depths and as many rows.
template <class T, class Tile, bool along_depth>
class HopperCopyA {
  public:
    __device__ HopperCopyA(const HopperProduct<T>& p, uint32_t row, uint32_t step)
        : p_(p), row_(row), depth_(step * kStepDepth<T>) {
        if (!p.convolution) return;
        window_ = HopperWindow::of(p.windows, along_depth ? row : depth_);
        unit_ = HopperUnit::of(p.windows, along_depth ? step : min(row, p.m - 1) / kStepDepth<T>);
    }
    __device__ void copy(unsigned char* a, uint64_t* full) const {
        HopperUnit unit = unit_;
#pragma unroll 1
        for (uint32_t box = 0; box < kBoxes; ++box) {
            unsigned char* target = a + box * kBoxBytes<T>;
            const uint32_t row = row_ + kStepDepth<T> * box;
            if (p_.convolution) {
                copy_windows(p_, target, full, window_, unit);
                // Rows past the last one are not stored: they are copies of a box before.
                if (row + kStepDepth<T> < p_.m) unit.advance(p_.windows);
            } else {
                tensor_copy(target, p_.a, full, static_cast<int>(along_depth ? depth_ : row),
                            static_cast<int>(along_depth ? row : depth_));
            }
        }
    }
    __device__ void advance() {
        depth_ += kStepDepth<T>;
        if (!p_.convolution) return;
        if constexpr (along_depth) {
            unit_.advance(p_.windows);
        } else {
            window_.advance(p_.windows, kStepDepth<T>);
        }
    }

  private:
    static constexpr uint32_t kBoxes = along_depth ? 1 : Tile::kRows / kStepDepth<T>;
    const HopperProduct<T>& p_;
    uint32_t row_, depth_;
    HopperWindow window_;
    HopperUnit unit_;  // of the step, or of the first box of rows
};

// Those of B: of float as it was prepared, of 16 bits as the caller has it, under its taps. Of two
// blocks of a cluster each copies half of the columns, or every other box, for both.
template <class T, class Tile, bool along_depth>
class HopperCopyB {
  public:
    __device__ HopperCopyB(const HopperProduct<T>& p, uint32_t rank, uint32_t column, uint32_t step)
        : p_(p), rank_(rank), column_(column), step_(step) {
        if constexpr (kHasTaps) {
            tap_ = step / p.tap_steps;
            step_ = step - tap_ * p.tap_steps;
        }
    }
    __device__ void copy(unsigned char* b, uint64_t* full) const {
        const uint32_t first = rank_ * (Tile::kColumns / p_.blocks), depth = step_ * kStepDepth<T>;
        if constexpr (!kHasTaps) {
            copy_box(b + first * kRowBytes, full, depth, column_ + first);
        } else {
            const uint32_t tap = p_.last_tap > 0 ? p_.last_tap - tap_ : tap_;
            if constexpr (along_depth) {
                copy_box(b + first * kRowBytes, full, depth, column_ + first, tap);
            } else {
                for (uint32_t box = rank_; box < Tile::kColumns / kStepDepth<T>; box += p_.blocks) {
                    copy_box(b + box * kBoxBytes<T>, full, column_ + kStepDepth<T> * box, depth,
                             tap);
                }
            }
        }
    }
    __device__ void advance() {
        ++step_;
        if constexpr (kHasTaps) {
            if (step_ < p_.tap_steps) return;
            step_ = 0;
            ++tap_;
        }
    }

  private:
    static constexpr bool kHasTaps = !std::is_same_v<T, float>;

    template <class... Coordinates>
    __device__ void copy_box(unsigned char* target, uint64_t* full, Coordinates... at) const {
        if (p_.blocks == 1) {
            tensor_copy(target, p_.b, full, static_cast<int>(at)...);
        } else {
            tensor_multicast(target, p_.b, full, static_cast<int>(at)..., uint16_t{3});
        }
    }

    const HopperProduct<T>& p_;
    uint32_t rank_, column_, step_, tap_ = 0;  // the step of those under the tap
};

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
