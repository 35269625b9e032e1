// Which convolutions the kernels over lines (hopper_lines.cuh) serve, and how they are cut.
//
// Served are windows that are known to be runs (fits_runs in conv2d_runs.cuh), of at most 16 lines, in
// images whose lines are multiples of 16 bytes, whose elements fill four fifths of the depths that
// they are filled up to: of each line whole steps of 32, and single elements for 16 lines each. The
// ring has room for three items at least.

#ifndef ALEXNET_CUDA_HOPPER_LINES_SHAPE_CUH_
#define ALEXNET_CUDA_HOPPER_LINES_SHAPE_CUH_

#include <algorithm>

#include "alexnet/conv2d.h"
#include "hopper_launch.cuh"
#include "hopper_lines.cuh"

namespace alexnet::cuda {

constexpr size_t kMostShared = 227 * 1024;  // bytes of a block
constexpr size_t kMostBox = 256;            // elements of a copy
constexpr size_t kAheadItems = 6;  // whose lines a ring has room for, where there is memory

// Output channels of a block: of 64 and 96 what leaves fewer columns empty, else the wider one.
inline uint32_t line_columns(size_t out) {
    return ceil_div(out, 96) * 96 <= ceil_div(out, 64) * 64 ? 96 : 64;
}

// With `fixed` bytes of shared memory beside the ring. Copies begin at multiples of 16 bytes, as the copy
// engine demands, though not its documentation: from elsewhere it ends the kernel with an illegal
// instruction.
template <class T>
HopperLines hopper_lines(const Conv2dShape& s, size_t fixed = 0) {
    constexpr size_t kBegin = kVector<T>;
    const auto index = [](size_t value) { return static_cast<uint32_t>(value); };
    HopperLines w = {};
    w.images = index(s.batch);
    w.segments = index(ceil_div(s.out_width, kLineWindows));
    w.down = index(s.out_height);
    w.across = index(s.out_width);
    // Whole products of windows, unless an item has all of a line.
    const size_t windows = ceil_div(s.out_width, w.segments);
    w.windows = index(w.segments == 1 ? windows : ceil_div(windows, kPiece<T>) * kPiece<T>);
    w.kernel_lines = index(s.kernel_height);
    w.run = index(s.kernel_width * s.in_channels);
    w.stride = static_cast<int>(s.stride_height);
    w.step = index(s.stride_width * s.in_channels);
    const size_t padding = s.pad_left * s.in_channels;
    w.front = index(ceil_div(padding, kBegin) * kBegin - padding);
    w.top = -static_cast<int>(s.pad_top);
    w.left = -static_cast<int>(padding + w.front);
    const size_t elements = w.front + (w.windows - 1) * w.step + w.run;
    w.boxes = index(ceil_div(elements, kMostBox));
    w.box = index(ceil_div(ceil_div(elements, w.boxes), kMapRow<T>) * kMapRow<T>);
    w.pitch = w.boxes * w.box;
    const size_t slot = w.pitch * sizeof(T) + 2 * sizeof(uint64_t);
    w.slots = index(std::min(s.kernel_height + kAheadItems * s.stride_height,
                             fixed < kMostShared ? (kMostShared - fixed) / slot : 0));
    return w;
}

// Whether these kernels are for arrays of T in a precision.
template <class T>
bool lines_have(Precision precision) {
    return !std::is_same_v<T, float> || precision == Precision::kTf32;
}

// Where `fixed_bytes(s)` of shared memory are wanted beside the ring.
template <class T, class FixedBytes>
bool hopper_lines_serve(const Conv2dShape& s, FixedBytes fixed_bytes) {
    const size_t run = s.kernel_width * s.in_channels, rests = run % kLineStep;
    const size_t depths = s.kernel_height * (run - rests) + rests * kMostRestLines;
    return s.batch > 0 && s.groups == 1 && run >= kLineStep && s.kernel_height <= kMostRestLines &&
           s.stride_height <= s.kernel_height && s.in_width * s.in_channels % kVector<T> == 0 &&
           4 * depths <= 5 * s.window() &&
           hopper_lines<T>(s, fixed_bytes(s)).slots >= s.kernel_height + 2 * s.stride_height &&
           hopper_is_here();
}

// What both directions have in common of a product.
template <class T>
HopperProduct<T> hopper_lines_product(const Conv2dShape& s, const T* x, const HopperLines& w) {
    HopperProduct<T> p = {};
    p.a = lines_map(x, s.batch, s.in_height, s.in_width * s.in_channels, w.box);
    p.n = static_cast<uint32_t>(s.out_channels);
    p.splits = 1;
    p.stride = s.out_channels;
    return p;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_LINES_SHAPE_CUH_
