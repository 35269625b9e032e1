// Windows over images of few channels, read 16 bytes at a time where pixels are no multiple of them.
//
// In NHWC memory a line of a window is one run of kernel_width · channels neighbouring floats. Runs
// begin stride_width · channels floats apart, and lines of the image in_width · channels: where both
// are multiples of 4, all runs of all windows are aligned alike. So each consists of a few single
// floats before the first aligned four, of fours, and of a few single floats behind the last:
//
//   AlexNet's first window, 11 pixels of 3 channels, its image padded by 3 pixels:  . | .... · 8
//
// Fours lie inside of the image or outside of it as a whole, as its border is aligned too. The
// index that runs over the window (the depth of forward, C's rows in the gradient of the weight) has
// the fours of all lines first, then the singles of all lines, which are copied one by one. Nothing
// is written anew in another layout, and no product is computed twice or for nothing.
//
// Counted for tf-tutorial's first convolution: 352 of 363 indices are in fours. Space to depth,
// 3 × 3 windows of 48 channels, has 432 of them, all in fours, and has to write the image anew:
// 2 · 19.8 MB through memory at batch 32, forward and again for the gradient of the weight.

#ifndef ALEXNET_CUDA_CONV2D_RUNS_CUH_
#define ALEXNET_CUDA_CONV2D_RUNS_CUH_

#include "conv2d_windows.cuh"

namespace alexnet::cuda {

// Which float of the window an index stands for.
struct RunOrder {
    struct Place {
        uint32_t line, position;  // of the window, and floats into the run
    };

    uint32_t front;                // single floats before the first four
    uint32_t fours;                // indices of fours, in all lines
    Divisor four_floats, singles;  // of a run

    // Whether an index, a multiple of 4, and the three behind it are of single floats.
    __device__ bool is_apart(uint32_t index) const { return index >= fours; }
    __device__ Place of_four(uint32_t index) const {
        const uint32_t line = four_floats.quotient(index);
        return {line, front + index - line * four_floats.value()};
    }
    __device__ Place of_single(uint32_t index) const {
        const uint32_t single = index - fours, line = singles.quotient(single);
        const uint32_t place = single - line * singles.value();
        return {line, place < front ? place : place + four_floats.value()};
    }
    __device__ Place of(uint32_t index) const {
        return is_apart(index) ? of_single(index) : of_four(index);
    }
};

inline size_t run_floats(const Conv2dShape& s) { return s.kernel_width * s.in_channels; }
// Floats by which the first window begins before the image, and so each run before a four.
inline size_t run_front(const Conv2dShape& s) { return s.pad_left * s.in_channels % 4; }
inline size_t run_fours(const Conv2dShape& s) {
    const size_t run = run_floats(s), front = run_front(s);
    return run < front ? 0 : (run - front) / 4 * 4;
}

// Whether windows are read as runs: pixels of the image are no multiple of 4 floats, its lines and
// the distances of windows are, and most floats are in fours.
inline bool has_runs(const Conv2dShape& s, const float* x) {
    return s.groups == 1 && s.in_channels % 4 != 0 && is_aligned16(x) &&
           s.in_width * s.in_channels % 4 == 0 && s.stride_width * s.in_channels % 4 == 0 &&
           2 * run_fours(s) >= run_floats(s);
}

inline RunOrder run_order(const Conv2dShape& s) {
    const size_t fours = run_fours(s);
    return {gemm_index(run_front(s)), gemm_index(s.kernel_height * fours), Divisor(fours),
            Divisor(std::max<size_t>(1, run_floats(s) - fours))};
}

// The windows of x as an operand, which says in its own index where its floats lie apart.
struct Runs {
    using Element = float;
    struct Window {
        int64_t offset;     // of its first float in memory
        int32_t top, left;  // its line, and its float in the line
    };
    struct Tap {
        uint32_t index;
        int32_t offset, down, right;  // floats in memory, lines, floats in a line
    };
    static constexpr bool kHasSingles = true, kThroughL1 = true;

    const float* data;
    int32_t height, line_floats;
    Divisor grid_height, grid_width;
    int32_t stride_h, step_w, top, left;  // step_w: floats between windows of a line
    RunOrder order;

    __device__ void select_group(uint32_t) {}
    __device__ bool is_apart(uint32_t index) const { return order.is_apart(index); }

    __device__ Window window(uint32_t index) const {
        const Window w = window_step(index);
        return {w.offset + int64_t{top} * line_floats + left, w.top + top, w.left + left};
    }
    // From window 0 to window n.
    __device__ Window window_step(uint32_t n) const {
        const uint32_t line = grid_width.quotient(n);
        const uint32_t image = grid_height.quotient(line);
        const auto i = static_cast<int32_t>(line - image * grid_height.value());
        const auto j = static_cast<int32_t>(n - line * grid_width.value());
        const int32_t h = i * stride_h, f = j * step_w;
        return {(static_cast<int64_t>(image) * height + h) * line_floats + f, h, f};
    }
    __device__ void advance(Window& window, const Window& step) const {
        const int32_t across = grid_width.as_int() * step_w;
        const int32_t down = grid_height.as_int() * stride_h;
        window.offset += step.offset;
        window.top += step.top;
        window.left += step.left;
        if (window.left >= left + across) {
            window.left -= across;
            window.top += stride_h;
            window.offset += stride_h * line_floats - across;
        }
        if (window.top >= top + down) {
            window.top -= down;
            window.offset += int64_t{height - down} * line_floats;
        }
    }

    __device__ Tap tap(uint32_t index, const RunOrder::Place& place) const {
        const auto down = static_cast<int32_t>(place.line);
        const auto right = static_cast<int32_t>(place.position);
        return {index, down * line_floats + right, down, right};
    }
    __device__ Tap four(uint32_t index) const { return tap(index, order.of_four(index)); }
    __device__ Tap single(uint32_t index) const { return tap(index, order.of_single(index)); }
    // Once a step of the main loop, which may go on by several lines: a division is less.
    __device__ void advance(Tap& tap, const Tap& step) const { tap = four(tap.index + step.index); }

    __device__ bool exists(const Window& window, const Tap& tap) const {
        const int32_t h = window.top + tap.down, f = window.left + tap.right;
        return (static_cast<uint32_t>(h) < static_cast<uint32_t>(height)) &
               (static_cast<uint32_t>(f) < static_cast<uint32_t>(line_floats));
    }
    __device__ const float* at(const Window& window, const Tap& tap) const {
        return data + (window.offset + tap.offset);
    }
};

struct RunRows : Runs {
    using Row = Window;
    using Depth = Tap;
    static constexpr bool kDepthContiguous = true, kEvenSteps = true;
    __device__ Row row(uint32_t i) const { return window(i); }
    __device__ Depth depth(uint32_t k) const { return four(k); }
    __device__ Depth step(uint32_t n) const { return four(n); }
};

struct RunDepths : Runs {
    using Row = Tap;
    using Depth = Window;
    static constexpr bool kDepthContiguous = false, kEvenSteps = false;
    __device__ Row row(uint32_t i) const { return four(i); }
    __device__ Depth depth(uint32_t k) const { return window(k); }
    __device__ Depth step(uint32_t n) const { return window_step(n); }
    __device__ bool exists(const Tap& tap, const Window& window) const {
        return Runs::exists(window, tap);
    }
    __device__ const float* at(const Tap& tap, const Window& window) const {
        return Runs::at(window, tap);
    }
};

// Floats of HWIO weight before the output channels of an index, and of its gradient.
struct RunWeightRows {
    static constexpr bool kSumsColumns = true;

    RunOrder order;
    uint32_t run;
    size_t out;

    __device__ size_t operator()(uint32_t index) const {
        const RunOrder::Place place = order.of(index);
        return (place.line * run + place.position) * out;
    }
};

struct RunWeights {
    using Element = float;
    using Row = const float*;
    using Depth = uint32_t;
    static constexpr bool kDepthContiguous = false, kEvenSteps = true, kThroughL1 = false;

    const float* data;
    RunWeightRows rows;

    __device__ void select_group(uint32_t) {}
    __device__ Row row(uint32_t i) const { return data + i; }
    __device__ Depth depth(uint32_t k) const { return k; }
    __device__ Depth step(uint32_t n) const { return n; }
    __device__ void advance(Depth& depth, Depth step) const { depth += step; }
    __device__ Depth within_step(Depth depth, int n) const { return depth + n; }
    __device__ bool exists(Row, Depth) const { return true; }
    __device__ const float* at(Row row, Depth depth) const { return row + rows(depth); }
};

template <class Operand>
Operand run_operand(const Conv2dShape& s, const float* x) {
    gemm_index(s.batch * s.out_height * s.out_width);
    gemm_index((s.in_height + s.out_height * s.stride_height + s.kernel_height) * s.in_width *
               s.in_channels);
    return {{x, coordinate(s.in_height), coordinate(s.in_width * s.in_channels),
             Divisor(s.out_height), Divisor(s.out_width), coordinate(s.stride_height),
             coordinate(s.stride_width * s.in_channels), -coordinate(s.pad_top),
             -coordinate(s.pad_left * s.in_channels), run_order(s)}};
}

inline RunWeightRows run_weight_rows(const Conv2dShape& s) {
    return {run_order(s), gemm_index(run_floats(s)), s.out_channels};
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_CONV2D_RUNS_CUH_
