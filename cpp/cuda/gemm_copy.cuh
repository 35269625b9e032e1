// Copies of an operand's tiles to shared memory, step by step through the depths.

#ifndef ALEXNET_CUDA_GEMM_COPY_CUH_
#define ALEXNET_CUDA_GEMM_COPY_CUH_

#include <cstdint>
#include <type_traits>

#include "device.cuh"
#include "gemm_layout.cuh"

namespace alexnet::cuda {

// Whether an operand has indices that lie apart in memory although others are contiguous
// (conv2d_runs.cuh): it has `single` for them, and is_apart for four of them from a multiple on.
template <class Operand, class = void>
constexpr bool kHasSingles = false;
template <class Operand>
constexpr bool kHasSingles<Operand, std::enable_if_t<Operand::kHasSingles>> = true;

// A thread's share of them, for `rows` rows from `first_row` on. Its copies, of `width` elements
// along the contiguous index, are all at the same place of that index: what the operand works out
// there is worked out once, for rows once in all. Rows past the last one are copies of it: they only
// reach elements of C that are not stored.
template <class Operand, class Layout, int rows, int threads, int width>
class TileCopy {
    using T = typename Operand::Element;
    static constexpr bool kDepthContiguous = Operand::kDepthContiguous;
    static constexpr bool kEvenSteps = Operand::kEvenSteps;
    static constexpr int kDepths = kTileDepth<T>;
    static constexpr int kPlaces = (kDepthContiguous ? kDepths : rows) / width;  // of a line
    static constexpr int kLinesAtOnce = threads / kPlaces;
    static constexpr int kCopies = Layout::kLines / kLinesAtOnce;
    static constexpr int kRowsOwned = kDepthContiguous ? kCopies : 1;
    static constexpr int kChunk = kChunkBytes / sizeof(T);
    static_assert(threads % kPlaces == 0 && Layout::kLines % kLinesAtOnce == 0);
    static_assert(width == 1 || width == kChunk);

  public:
    // The first copies will be those of the depths from `first` on.
    __device__ TileCopy(const Operand& operand, uint32_t first_row, uint32_t row_count,
                        uint32_t first, int thread)
        : operand_(operand),
          line_(line_of(thread / kPlaces)),
          place_(thread % kPlaces * width),
          row_(first_row + place_),
          last_row_(row_count - 1) {
#pragma unroll
        for (int i = 0; i < kRowsOwned; ++i) {
            const int row = kDepthContiguous ? line_ + i * kLinesAtOnce : place_;
            rows_[i] = operand.row(min(first_row + row, row_count - width_along_rows()));
        }
        k_ = first + (kDepthContiguous ? place_ : line_);
        depth_ = operand.depth(k_);
        step_ = operand.step(kStep);
    }

    // Start the copies of the next kTileDepth depths, of which those from `end` on are zero.
    __device__ void start(unsigned char* tile, uint32_t end) {
        if constexpr (kHasSingles<Operand>) {
            if (operand_.is_apart(kDepthContiguous ? k_ : row_)) return start_singles(tile, end);
        }
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            if constexpr (kDepthContiguous) {
                copy(tile + target(i), rows_[i], depth_, k_ < end);
            } else if constexpr (kEvenSteps) {
                const int further = i * kLinesAtOnce;
                copy(tile + target(i), rows_[0], operand_.within_step(depth_, further),
                     k_ + further < end);
            } else {
                copy(tile + target(i), rows_[0], depth_, k_ < end);
                advance();
            }
        }
        if (kEvenSteps) advance();
    }

  private:
    static constexpr int kStep = kEvenSteps ? kDepths : kLinesAtOnce;

    // For FMAs, lines of a row are 80 bytes apart, and shared memory takes those of two rows at once.
    // Neighbouring ones, 20 words apart, would want the same banks, 4 rows, 80 words, apart they do
    // not: every second line changes places with the one 4 further on.
    static __device__ int line_of(int line) {
        if (!kDepthContiguous || Layout::kSwizzled) return line;
        static_assert(!kDepthContiguous || Layout::kSwizzled || kLinesAtOnce % 8 == 0);
        return (line & ~5) | (line & 1) * 4 | (line & 4) / 4;
    }
    static __device__ constexpr uint32_t width_along_rows() { return kDepthContiguous ? 1 : width; }

    // Bytes from the tile's beginning to where copy i goes.
    __device__ int target(int i) const {
        const int within = place_ % kChunk * static_cast<int>(sizeof(T));
        if constexpr (kLinesAtOnce % Layout::kPeriod == 0) {
            return Layout::offset(line_, place_ / kChunk) + within +
                   i * kLinesAtOnce * Layout::kLineBytes;
        }
        return Layout::offset(line_ + i * kLinesAtOnce, place_ / kChunk) + within;
    }

    __device__ void advance() {
        k_ += kStep;
        operand_.advance(depth_, step_);
    }

    // `start` for four indices that lie apart.
    __device__ void start_singles(unsigned char* tile, uint32_t end) {
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
#pragma unroll
            for (int e = 0; e < width; ++e) {
                unsigned char* place = tile + target(i) + e * sizeof(T);
                if constexpr (kDepthContiguous) {
                    const auto depth = operand_.single(k_ + e);
                    const bool exists = (k_ + e < end) & operand_.exists(rows_[i], depth);
                    cp_async4(place, operand_.at(rows_[i], depth), exists);
                } else {
                    const auto row = operand_.single(min(row_ + e, last_row_));
                    const bool exists = (k_ < end) & operand_.exists(row, depth_);
                    cp_async4(place, operand_.at(row, depth_), exists);
                }
            }
            if (!kEvenSteps) advance();
        }
        if (kEvenSteps) advance();
    }

    __device__ void copy(unsigned char* target, const typename Operand::Row& row,
                         const typename Operand::Depth& depth, bool within) {
        const bool exists = within & operand_.exists(row, depth);
        const T* source = operand_.at(row, depth);
        if constexpr (width == kChunk) {
            cp_async16<Operand::kThroughL1>(target, source, exists);
        } else if constexpr (sizeof(T) == 4) {
            cp_async4(target, source, exists);
        } else {  // too small for an asynchronous copy; the barrier of the next step makes it visible
            *reinterpret_cast<T*>(target) = exists ? *source : T{};
        }
    }

    const Operand& operand_;
    int line_, place_;
    uint32_t row_, last_row_;
    uint32_t k_;
    typename Operand::Row rows_[kRowsOwned];
    typename Operand::Depth depth_, step_;
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_GEMM_COPY_CUH_
