// Copies of an operand's tiles to shared memory, step by step through the depths.

#ifndef ALEXNET_CUDA_GEMM_COPY_CUH_
#define ALEXNET_CUDA_GEMM_COPY_CUH_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "device.cuh"
#include "gemm_layout.cuh"

namespace alexnet::cuda {

// Where a thread's copies go, for all operands: `width` elements each along the contiguous index, at
// the same `chunks` places of that index, to every kLinesAtOnce-th line of the tile.
template <class T, class Layout, int rows, int threads, int width, int chunks = 1>
class TilePlaces {
  protected:
    static constexpr bool kDepthContiguous = Layout::kDepthContiguous;
    static constexpr int kDepths = kTileDepth<T>;
    static constexpr int kPlaces =
        (kDepthContiguous ? kDepths : rows) / width / chunks;  // of a line
    static constexpr int kLinesAtOnce = threads / kPlaces;
    static constexpr int kCopies = Layout::kLines / kLinesAtOnce;
    static constexpr int kChunk = kChunkBytes / sizeof(T);
    static_assert(threads % kPlaces == 0 && Layout::kLines % kLinesAtOnce == 0);

    __device__ explicit TilePlaces(int thread)
        : line_(line_of(thread / kPlaces)), place_(thread % kPlaces * width) {
        const int within = place_ % kChunk * static_cast<int>(sizeof(T));
#pragma unroll
        for (int i = 0; i < kTargets; ++i) {
            targets_[i] = Layout::offset(line_ + i * kLinesAtOnce, place_ / kChunk) + within;
        }
    }

    // Bytes from the tile's beginning to where copy i goes, of the thread's chunk c of a line.
    __device__ int target(int i, int c = 0) const {
        return targets_[i % kTargets] +
               i / kTargets * (kTargets * kLinesAtOnce * Layout::kLineBytes) +
               c * (kPlaces * width * static_cast<int>(sizeof(T)));
    }
    // Chunks change places within 128 bytes.
    static_assert(chunks == 1 || kPlaces * width * sizeof(T) % 128 == 0);

    template <int elements, bool through_l1>
    static __device__ void copy_elements(unsigned char* target, const T* source, bool exists) {
        constexpr int kBytes = elements * static_cast<int>(sizeof(T));
        if constexpr (kBytes == 16) {
            cp_async16<through_l1>(target, source, exists);
        } else if constexpr (kBytes == 8) {
            cp_async8(target, source, exists);
        } else if constexpr (kBytes == 4) {
            cp_async4(target, source, exists);
        } else {  // too small for an asynchronous copy; the barrier of the next step makes it visible
            *reinterpret_cast<T*>(target) = exists ? *source : T{};
        }
    }

    int line_, place_;

  private:
    // Copies as many apart go to lines with the same mask.
    static constexpr int kTargets =
        kLinesAtOnce % Layout::kPeriod == 0 ? 1 : std::min(kCopies, Layout::kPeriod / kLinesAtOnce);
    static_assert(kLinesAtOnce * kTargets % Layout::kPeriod == 0 || kTargets == kCopies);
    // For FMAs, lines of a row are 80 bytes apart, and shared memory takes those of two rows at once.
    // Neighbouring ones, 20 words apart, would want the same banks, 4 rows, 80 words, apart they do
    // not: every second line changes places with the one 4 further on.
    static __device__ int line_of(int line) {
        if (!kDepthContiguous || Layout::kSwizzled) return line;
        static_assert(!kDepthContiguous || Layout::kSwizzled || kLinesAtOnce % 8 == 0);
        return (line & ~5) | (line & 1) * 4 | (line & 4) / 4;
    }

    int targets_[kTargets];
};

// Where each depth has to be worked out, a thread copies chunks of a line 128 bytes apart, to as few
// lines.
template <class Operand, int rows, int width>
constexpr int kChunksOwned = Operand::kDepthContiguous || Operand::kEvenSteps || width == 1
                                 ? 1
                                 : rows * static_cast<int>(sizeof(typename Operand::Element)) / 128;

// A thread's share of the copies, for `rows` rows from `first_row` on: what the operand works out at
// its place is worked out once, for rows once in all. Rows past the last one are copies of it: they
// only reach elements of C that are not stored.
template <class Operand, class Layout, int rows, int threads, int width>
class TileCopy : TilePlaces<typename Operand::Element, Layout, rows, threads, width,
                            kChunksOwned<Operand, rows, width>> {
    using T = typename Operand::Element;
    static constexpr int kChunks = kChunksOwned<Operand, rows, width>;
    using Places = TilePlaces<T, Layout, rows, threads, width, kChunks>;
    using Places::kDepthContiguous, Places::kDepths, Places::kLinesAtOnce, Places::kCopies;
    using Places::line_, Places::place_, Places::target;
    static constexpr bool kEvenSteps = Operand::kEvenSteps;
    static constexpr int kRowsOwned = kDepthContiguous ? kCopies : kChunks;
    static_assert(width == 1 || width == Places::kChunk);

  public:
    // The first copies will be those of the depths from `first` on.
    __device__ TileCopy(const Operand& operand, uint32_t first_row, uint32_t row_count,
                        uint32_t first, int thread)
        : Places(thread), operand_(operand) {
#pragma unroll
        for (int i = 0; i < kRowsOwned; ++i) {
            const int row =
                kDepthContiguous ? line_ + i * kLinesAtOnce : place_ + i * Places::kPlaces * width;
            rows_[i] = operand.row(min(first_row + row, row_count - width_along_rows()));
        }
        k_ = first + (kDepthContiguous ? place_ : line_);
        depth_ = operand.depth(k_);
        step_ = operand.step(kStep);
    }

    // Start the copies of the next kTileDepth depths, of which those from `end` on are zero.
    __device__ void start(unsigned char* tile, uint32_t end) {
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            if constexpr (kDepthContiguous) {
                copy(tile + target(i), rows_[i], depth_, k_ < end);
            } else if constexpr (kEvenSteps) {
                const int further = i * kLinesAtOnce;
                copy(tile + target(i), rows_[0], operand_.within_step(depth_, further),
                     k_ + further < end);
            } else {
#pragma unroll
                for (int c = 0; c < kChunks; ++c) {
                    copy(tile + target(i, c), rows_[c], depth_, k_ < end);
                }
                advance();
            }
        }
        if (kEvenSteps) advance();
    }

  private:
    static constexpr int kStep = kEvenSteps ? kDepths : kLinesAtOnce;

    static __device__ constexpr uint32_t width_along_rows() { return kDepthContiguous ? 1 : width; }

    __device__ void advance() {
        k_ += kStep;
        operand_.advance(depth_, step_);
    }

    __device__ void copy(unsigned char* target, const typename Operand::Row& row,
                         const typename Operand::Depth& depth, bool within) {
        // In the other order nvcc works out rows_ of single elements anew in each step.
        const bool exists = within & operand_.exists(row, depth);
        const T* source = operand_.at(row, depth);
        Places::template copy_elements<width, Operand::kThroughL1>(target, source, exists);
    }

    const Operand& operand_;
    uint32_t k_;
    typename Operand::Row rows_[kRowsOwned];
    typename Operand::Depth depth_, step_;
};

// The copies of an operand: its own, if it has a class for them (conv2d_run_copies.cuh).
template <class Operand, class = void>
constexpr bool kCopiesItself = false;
template <class Operand>
constexpr bool kCopiesItself<Operand, std::enable_if_t<Operand::kCopiesItself>> = true;

template <class Operand, class Layout, int rows, int threads, int width, class = void>
struct CopyOf {
    using Type = TileCopy<Operand, Layout, rows, threads, width>;
};
template <class Operand, class Layout, int rows, int threads, int width>
struct CopyOf<Operand, Layout, rows, threads, width, std::enable_if_t<kCopiesItself<Operand>>> {
    using Type = typename Operand::template Copy<Layout, rows, threads>;
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_COPY_CUH_
