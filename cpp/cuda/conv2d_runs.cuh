// Windows over images of few channels, read four elements at a time where pixels are no multiple of
// them.
//
// In NHWC memory a line of a window is one run of kernel_width · channels neighbouring elements. Runs
// begin stride_width · channels elements apart, and lines of the image in_width · channels: where both
// are multiples of 4, all runs of all windows are aligned alike. So each consists of a few single
// elements before the first aligned four, of fours, and of a few single ones behind the last:
//
//   AlexNet's first window, 11 pixels of 3 channels, its image padded by 3 pixels:  . | .... · 8
//
// Fours lie inside of the image or outside of it as a whole, as its border is aligned too. The
// index that runs over the window (the depth of forward, C's rows in the gradient of the weight) has
// the fours of all lines first, then the singles of all lines, which are copied one by one. Nothing
// is written anew in another layout, and no product is computed twice or for nothing. (Images whose
// lines are no multiple of 4 elements are copied to lines that are: conv2d_even_lines.cuh.)
//
// A four of float32 is one asynchronous copy of 16 bytes, of a 16-bit type one of 8 bytes. Single
// elements of 16 bits are too small for an asynchronous copy and go through a register.
//
// Counted for tf-tutorial's first convolution: 352 of 363 indices are in fours. Space to depth,
// 3 × 3 windows of 48 channels, has 432 of them, all in fours, and has to write the image anew:
// 2 · 19.8 MB through memory at batch 32, forward and again for the gradient of the weight.

#ifndef ALEXNET_CUDA_CONV2D_RUNS_CUH_
#define ALEXNET_CUDA_CONV2D_RUNS_CUH_

#include "conv2d_run_copies.cuh"
#include "conv2d_windows.cuh"

namespace alexnet::cuda {

// Which element of the window an index stands for.
struct RunOrder {
    struct Place {
        uint32_t line, position;  // of the window, and elements into the run
    };

    uint32_t front;                // single elements before the first four
    uint32_t fours;                // indices of fours, in all lines
    Divisor of_fours, of_singles;  // elements of a run

    // Whether an index, a multiple of 4, and the three behind it are of single elements.
    __device__ bool is_apart(uint32_t index) const { return index >= fours; }
    __device__ Place of_four(uint32_t index) const {
        const uint32_t line = of_fours.quotient(index);
        return {line, front + index - line * of_fours.value()};
    }
    __device__ Place of_single(uint32_t index) const {
        const uint32_t single = index - fours, line = of_singles.quotient(single);
        const uint32_t place = single - line * of_singles.value();
        return {line, place < front ? place : place + of_fours.value()};
    }
    // The aligned four of the line that a position of the run is in: 0 lies before the first four.
    __device__ uint32_t four_of(uint32_t position) const { return (position + 4 - front) / 4; }
    __device__ Place of(uint32_t index) const {
        return is_apart(index) ? of_single(index) : of_four(index);
    }
};

inline size_t run_length(const Conv2dShape& s) { return s.kernel_width * s.in_channels; }
// Elements by which the first window begins before the image, and so each run before a four.
inline size_t run_front(const Conv2dShape& s) { return s.pad_left * s.in_channels % 4; }
inline size_t run_fours(const Conv2dShape& s) {
    const size_t run = run_length(s), front = run_front(s);
    return run < front ? 0 : (run - front) / 4 * 4;
}

// Lines of a window, and aligned fours that a run touches, for which a window has bits (Runs).
constexpr int kMostRunLines = 16, kMostRunFours = 15;

// Whether windows of an image that is aligned to 16 bytes can be read as runs: its pixels are no
// multiple of 4 elements, its lines and the distances of windows are, most elements are in fours, and
// indices, also of the windows that a step goes beyond the last, fit 31 bits.
inline bool fits_runs(const Conv2dShape& s) {
    const size_t lines = (s.batch + 2 * kWarp) * (s.in_height + s.out_height * s.stride_height);
    return s.groups == 1 && s.in_channels % 4 != 0 && s.in_width * s.in_channels % 4 == 0 &&
           s.stride_width * s.in_channels % 4 == 0 && 2 * run_fours(s) >= run_length(s) &&
           s.kernel_height <= kMostRunLines && run_fours(s) / 4 + 2 <= kMostRunFours &&
           (lines + s.kernel_height) * s.in_width * s.in_channels < size_t{1} << 31;
}

inline RunOrder run_order(const Conv2dShape& s) {
    const size_t fours = run_fours(s);
    return {gemm_index(run_front(s)), gemm_index(s.kernel_height * fours), Divisor(fours),
            Divisor(std::max<size_t>(1, run_length(s) - fours))};
}

// The windows of x as the left operand. Whatever is copied, four elements or one, lies in one line of
// the window and in one aligned four of that line, both of which are in the image or outside of it as a
// whole. So a window carries a bit for each of its lines and each of its fours that is in the image, a
// tap the two bits that it wants, and whether the tap exists is one instruction.
template <class T>
struct Runs {
    using Element = T;
    struct Window {
        int32_t offset;  // of its first element in memory
        uint32_t seen;
    };
    struct Place {
        int32_t offset, top, left;  // top: a line, left: an element of the line
    };
    struct Tap {
        const T* data;  // of the window at offset 0
        uint32_t wanted;

        __device__ bool exists(const Window& window) const { return (wanted & ~window.seen) == 0; }
    };
    static constexpr uint32_t kNothing = 1u << 31;  // what no window sees
    static constexpr bool kCopiesItself = true;

    const T* data;
    int32_t height, line_elements;
    Divisor grid_height, grid_width;
    int32_t stride_h, step_w, top, left;  // step_w: elements between windows of a line
    RunOrder order;

    __device__ void select_group(uint32_t) {}

    __device__ Place place(uint32_t index) const {
        const Place p = place_step(index);
        return {p.offset + top * line_elements + left, p.top + top, p.left + left};
    }
    // From window 0 to window n.
    __device__ Place place_step(uint32_t n) const {
        const uint32_t of_grid = grid_width.quotient(n);
        const uint32_t image = grid_height.quotient(of_grid);
        const auto i = static_cast<int32_t>(of_grid - image * grid_height.value());
        const auto j = static_cast<int32_t>(n - of_grid * grid_width.value());
        const int32_t h = i * stride_h, f = j * step_w;
        return {(static_cast<int32_t>(image) * height + h) * line_elements + f, h, f};
    }
    __device__ void advance(Place& place, const Place& step) const {
        const int32_t across = grid_width.as_int() * step_w;
        const int32_t down = grid_height.as_int() * stride_h;
        place.offset += step.offset;
        place.top += step.top;
        place.left += step.left;
        if (place.left >= left + across) {
            place.left -= across;
            place.top += stride_h;
            place.offset += stride_h * line_elements - across;
        }
        if (place.top >= top + down) {
            place.top -= down;
            place.offset += (height - down) * line_elements;
        }
    }

    // Which of `most` neighbours, the first of them number `first`, are among `count`, as bits.
    static __device__ uint32_t among(int32_t first, int32_t count, int32_t most) {
        const int32_t before = max(-first, 0), behind = max(first + most - count, 0);
        const uint32_t all = (1u << most) - 1;
        return all >> min(behind, most) & all << min(before, most);
    }
    __device__ Window window(const Place& p) const {
        const int32_t first_four = (p.left + static_cast<int32_t>(order.front)) / 4 - 1;
        return {p.offset, among(p.top, height, kMostRunLines) |
                              among(first_four, line_elements / 4, kMostRunFours) << kMostRunLines};
    }

    __device__ Tap tap(const RunOrder::Place& place) const {
        const auto down = static_cast<int32_t>(place.line);
        const auto right = static_cast<int32_t>(place.position);
        return {data + (down * line_elements + right),
                1u << place.line | 1u << (kMostRunLines + order.four_of(place.position))};
    }
    // Of an index before `end`; behind it, of nothing.
    __device__ Tap four(uint32_t index, uint32_t end) const {
        return index < end ? tap(order.of_four(index)) : Tap{data, kNothing};
    }
    __device__ Tap single(uint32_t index, uint32_t end) const {
        return index < end ? tap(order.of_single(index)) : Tap{data, kNothing};
    }
};

template <class T>
struct RunRows : Runs<T> {
    static constexpr bool kDepthContiguous = true;
    template <class Layout, int rows, int threads>
    using Copy = RunRowsCopy<T, Layout, rows, threads>;
};

template <class T>
struct RunDepths : Runs<T> {
    static constexpr bool kDepthContiguous = false;
    template <class Layout, int rows, int threads>
    using Copy = RunDepthsCopy<T, Layout, rows, threads>;
};

// Elements of HWIO weight before the output channels of an index, and of its gradient.
struct RunWeightRows {
    using Out = float;
    static constexpr bool kSumsColumns = true;

    RunOrder order;
    uint32_t run;
    size_t out;

    __device__ size_t operator()(uint32_t index) const {
        const RunOrder::Place place = order.of(index);
        return (place.line * run + place.position) * out;
    }
};

template <class T>
struct RunWeights {
    using Element = T;
    using Row = const T*;
    using Depth = uint32_t;
    static constexpr bool kDepthContiguous = false, kEvenSteps = true, kThroughL1 = false;

    const T* data;
    RunOrder order;
    uint32_t run;
    int32_t line_bytes;  // from one element of a run to the next

    __device__ void select_group(uint32_t) {}
    __device__ Row row(uint32_t i) const { return data + i; }
    __device__ Depth depth(uint32_t k) const { return k; }
    __device__ Depth step(uint32_t n) const { return n; }
    __device__ void advance(Depth& depth, Depth step) const { depth += step; }
    __device__ Depth within_step(Depth depth, int n) const { return depth + n; }
    __device__ bool exists(Row, Depth) const { return true; }
    __device__ const T* at(Row row, Depth depth) const {
        const RunOrder::Place place = order.of(depth);
        return after(row, static_cast<int32_t>(place.line * run + place.position), line_bytes);
    }
};

template <template <class> class Operand, class T>
Operand<T> run_operand(const Conv2dShape& s, const T* x) {
    return {{x, coordinate(s.in_height), coordinate(s.in_width * s.in_channels),
             Divisor(s.out_height), Divisor(s.out_width), coordinate(s.stride_height),
             coordinate(s.stride_width * s.in_channels), -coordinate(s.pad_top),
             -coordinate(s.pad_left * s.in_channels), run_order(s)}};
}

template <class T>
RunWeights<T> run_weights(const Conv2dShape& s, const T* weight) {
    return {weight, run_order(s), gemm_index(run_length(s)),
            coordinate(s.out_channels * sizeof(T))};
}

inline RunWeightRows run_weight_rows(const Conv2dShape& s) {
    return {run_order(s), gemm_index(run_length(s)), s.out_channels};
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_CONV2D_RUNS_CUH_
