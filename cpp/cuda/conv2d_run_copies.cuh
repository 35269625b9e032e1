// Copies of tiles of windows that are read as runs (conv2d_runs.cuh): four elements at a time, and
// single ones where an index lies apart. An index behind the last is copied as zeros.
//
// Of AlexNet's first window a copy of a four is three instructions: a bit test, an address, the copy.

#ifndef ALEXNET_CUDA_CONV2D_RUN_COPIES_CUH_
#define ALEXNET_CUDA_CONV2D_RUN_COPIES_CUH_

#include "gemm_copy.cuh"
#include "gemm_operands.cuh"

namespace alexnet::cuda {

template <class T>
struct Runs;

// What both directions share.
template <class T, class Layout, int rows, int threads>
class RunCopy : protected TilePlaces<T, Layout, rows, threads, 4> {
  protected:
    using Places = TilePlaces<T, Layout, rows, threads, 4>;
    using Window = typename Runs<T>::Window;
    using Tap = typename Runs<T>::Tap;

    __device__ RunCopy(const Runs<T>& runs, int thread) : Places(thread), runs_(runs) {}

    template <int elements>
    __device__ void copy(unsigned char* target, const Window& window, const Tap& tap) const {
        Places::template copy_elements<elements, true>(
            target, after(tap.data, window.offset, sizeof(T)), tap.exists(window));
    }

    const Runs<T>& runs_;
};

// C's rows are windows, depths the elements of one: forward. A thread has the same windows all the time
// and goes on by taps.
template <class T, class Layout, int rows, int threads>
class RunRowsCopy : RunCopy<T, Layout, rows, threads> {
    using Base = RunCopy<T, Layout, rows, threads>;
    using Base::kDepths, Base::kLinesAtOnce, Base::kCopies, Base::runs_;
    using Base::line_, Base::place_, Base::target;
    using typename Base::Tap, typename Base::Window;

  public:
    __device__ RunRowsCopy(const Runs<T>& runs, uint32_t first_row, uint32_t row_count,
                           uint32_t first, int thread)
        : Base(runs, thread), k_(first + place_) {
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            const uint32_t row = first_row + line_ + i * kLinesAtOnce;
            windows_[i] = runs.window(runs.place(min(row, row_count - 1)));
        }
    }

    __device__ void start(unsigned char* tile, uint32_t end) {
        if (runs_.order.is_apart(k_)) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                copy_all<1>(tile + e * sizeof(T), runs_.single(k_ + e, end));
            }
        } else {
            copy_all<4>(tile, runs_.four(k_, end));
        }
        k_ += kDepths;
    }

  private:
    template <int elements>
    __device__ void copy_all(unsigned char* tile, const Tap& tap) const {
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            Base::template copy<elements>(tile + target(i), windows_[i], tap);
        }
    }

    uint32_t k_;
    Window windows_[kCopies];
};

// C's rows are the elements of a window, depths are windows: the gradient of the weight. A thread has
// the same taps all the time. What copies have to know of a window is worked out by one lane a window
// and handed to the others.
template <class T, class Layout, int rows, int threads>
class RunDepthsCopy : RunCopy<T, Layout, rows, threads> {
    using Base = RunCopy<T, Layout, rows, threads>;
    using Base::kDepths, Base::kLinesAtOnce, Base::kCopies, Base::runs_;
    using Base::line_, Base::place_, Base::target;
    using typename Base::Tap, typename Base::Window;
    static_assert(Base::kPlaces == kWarp && kDepths <= kWarp);

  public:
    __device__ RunDepthsCopy(const Runs<T>& runs, uint32_t first_row, uint32_t row_count,
                             uint32_t first, int thread)
        : Base(runs, thread),
          row_(first_row + place_),
          row_count_(row_count),
          k_(first + (line_ + thread) % kDepths),
          four_(runs.four(row_, min(row_count, runs.order.fours))),
          own_(runs.place(k_)),
          step_(runs.place_step(kDepths)) {}

    __device__ void start(unsigned char* tile, uint32_t end) {
        Window own = runs_.window(own_);
        if (k_ >= end) own.seen = 0;
        Window windows[kCopies];
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            windows[i] = {__shfl_sync(kAllLanes, own.offset, i * kLinesAtOnce),
                          __shfl_sync(kAllLanes, own.seen, i * kLinesAtOnce)};
        }
        if (runs_.order.is_apart(row_)) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                copy_all<1>(tile + e * sizeof(T), windows, runs_.single(row_ + e, row_count_));
            }
        } else {
            copy_all<4>(tile, windows, four_);
        }
        k_ += kDepths;
        runs_.advance(own_, step_);
    }

  private:
    template <int elements>
    __device__ void copy_all(unsigned char* tile, const Window (&windows)[kCopies],
                             const Tap& tap) const {
#pragma unroll
        for (int i = 0; i < kCopies; ++i) {
            Base::template copy<elements>(tile + target(i), windows[i], tap);
        }
    }

    uint32_t row_, row_count_, k_;
    Tap four_;
    typename Runs<T>::Place own_, step_;
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_CONV2D_RUN_COPIES_CUH_
