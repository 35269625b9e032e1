// Convolutions as products of Hopper (hopper_gemm.cuh), a launch for each group.
//
//   y (pixels of y, out)        = windows of x (pixels of y, taps · in) · weight (taps · in, out)
//   dx (pixels of x, in)        = windows of dy (pixels of x, taps · out) · weightᵀ (taps · out, in)
//   dweight (taps · in, out)    = windows of xᵀ (taps · in, pixels of y) · dy (pixels of y, out)
//
// Windows are A: the tensor copy engine finds their pixels (im2col mode). The other operand is
// prepared as B: the weights, for dx with their taps in reverse, and dy transposed.
//
// Served are groups whose channels are a multiple of 4, at least half of the steps of 32 channels
// that they are filled up to, and at most four groups; strides up to 8, for dx of 1; windows that
// begin at most 128 pixels outside of the image; kernels up to 256; images of 128 KiB or more
// (hopper_tensor_map.cuh).

#include "hopper_launch.cuh"
#include "hopper_layers.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMostIndex = 0x7fffffff;
constexpr size_t kMostGroups = 4;

uint32_t index(size_t value) { return static_cast<uint32_t>(value); }

// Images that are seen through windows, and the windows of all groups.
struct Seen {
    size_t images, channels, groups;  // channels of a group
    WindowAxis h, w;
    size_t kernel_height, kernel_width;

    size_t pixel() const { return channels * groups; }
    size_t taps() const { return kernel_height * kernel_width; }
    size_t windows() const { return images * h.windows * w.windows; }

    bool is_possible() const {
        const size_t steps = (channels + kStepDepth - 1) / kStepDepth;
        const size_t size = images * h.pixels * w.pixels * pixel();
        return images > 0 && channels % 4 == 0 && channels > 0 && groups <= kMostGroups &&
               2 * channels >= steps * kStepDepth && h.is_possible() && w.is_possible() &&
               kernel_height <= 256 && kernel_width <= 256 && size <= kMostIndex &&
               size * sizeof(float) >= kLeastMappedBytes && windows() <= kMostIndex &&
               taps() * steps * kStepDepth <= kMostIndex;
    }
    CUtensorMap map(const float* data, size_t group, size_t box) const {
        return windows_map(data + group * channels, images, h, w, channels, pixel(), box);
    }
    HopperWindows windows_of_group() const {
        return {index(h.windows),           index(w.windows),
                static_cast<int>(h.stride), static_cast<int>(w.stride),
                static_cast<int>(h.first),  static_cast<int>(w.first),
                index(kernel_width),        index(channels)};
    }
};

Seen seen_input(const Conv2dShape& s) {
    return {s.batch,
            s.group_in(),
            s.groups,
            {s.in_height, s.out_height, s.stride_height, -static_cast<int64_t>(s.pad_top)},
            {s.in_width, s.out_width, s.stride_width, -static_cast<int64_t>(s.pad_left)},
            s.kernel_height,
            s.kernel_width};
}

// dx[h] meets dy[h + top - tap]: with taps in reverse, windows that begin at h - (kernel - 1 - top).
Seen seen_gradient(const Conv2dShape& s) {
    const auto first = [](size_t kernel, size_t pad) {
        return static_cast<int64_t>(pad) - static_cast<int64_t>(kernel - 1);
    };
    return {s.batch,
            s.group_out(),
            s.groups,
            {s.out_height, s.in_height, 1, first(s.kernel_height, s.pad_top)},
            {s.out_width, s.in_width, 1, first(s.kernel_width, s.pad_left)},
            s.kernel_height,
            s.kernel_width};
}

bool serves(const Seen& seen, size_t other_channels, size_t result) {
    return seen.is_possible() && other_channels > 0 && result <= kMostIndex && hopper_is_here();
}
bool serves_forward(const Conv2dShape& s) {
    return serves(seen_input(s), s.group_out(), s.output_size());
}
bool serves_input(const Conv2dShape& s) {
    return s.stride_height == 1 && s.stride_width == 1 &&
           serves(seen_gradient(s), s.group_in(), s.input_size());
}
bool serves_weight(const Conv2dShape& s) {
    return serves(seen_input(s), s.group_out(), s.weight_size()) && s.output_size() <= kMostIndex;
}

// B of the three directions, for any group: of the weights, of the weights from the last tap on
// backwards, and of dy; `data` is the caller's.
HopperSource source_forward(const Conv2dShape& s) {
    const auto out = static_cast<ptrdiff_t>(s.out_channels);
    return {nullptr,
            1,
            out,
            static_cast<ptrdiff_t>(s.group_in()) * out,
            index(s.group_out()),
            index(s.group_in()),
            index(s.kernel_height * s.kernel_width),
            false};
}

HopperSource source_input(const Conv2dShape& s) {
    const auto out = static_cast<ptrdiff_t>(s.out_channels);
    return {nullptr,
            out,
            1,
            -static_cast<ptrdiff_t>(s.group_in()) * out,
            index(s.group_in()),
            index(s.group_out()),
            index(s.kernel_height * s.kernel_width),
            false};
}

HopperSource source_weight(const Conv2dShape& s) {
    return {nullptr,
            1,
            static_cast<ptrdiff_t>(s.out_channels),
            0,
            index(s.group_out()),
            index(s.batch * s.out_height * s.out_width),
            1,
            true};
}

// Rows of A of the weights' gradient: channels of a group filled up to whole steps, for each tap.
size_t unit_rows(const Conv2dShape& s) {
    return seen_input(s).taps() * seen_input(s).windows_of_group().chunks() * kStepDepth;
}

}  // namespace

size_t hopper_conv2d_workspace(const Conv2dShape& s) {
    if (!serves_forward(s)) return 0;
    const size_t m = seen_input(s).windows();
    const HopperSource b = source_forward(s);
    return hopper_workspace(hopper_cut(m, b.rows, b.steps()), b, m * b.rows);
}

bool hopper_conv2d(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
                   bool relu, Precision precision, float* y, void* workspace, Stream stream) {
    if (precision != Precision::kTf32 || !is_aligned16(x) || !serves_forward(s)) return false;
    const Seen seen = seen_input(s);
    for (size_t group = 0; group < s.groups; ++group) {
        HopperTask task = {};
        task.p.m = index(seen.windows());
        task.p.n = index(s.group_out());
        task.p.convolution = true;
        task.p.windows = seen.windows_of_group();
        task.p.c = y + group * s.group_out();
        task.p.stride = s.out_channels;
        task.p.bias = bias ? bias + group * s.group_out() : nullptr;
        task.p.relu = relu;
        task.b = source_forward(s);
        task.b.data = weight + group * s.group_out();
        task.depth_contiguous = true;
        task.map_a = [&](size_t rows) { return seen.map(x, group, rows); };
        task.lines = seen.windows();
        task.neighbours = s.group_out();
        run_hopper(task, workspace, stream);
    }
    return true;
}

size_t hopper_conv2d_backward_input_workspace(const Conv2dShape& s) {
    if (!serves_input(s)) return 0;
    const size_t m = seen_gradient(s).windows();
    const HopperSource b = source_input(s);
    return hopper_workspace(hopper_cut(m, b.rows, b.steps()), b, m * b.rows);
}

bool hopper_conv2d_backward_input(const Conv2dShape& s, const float* dy, const float* weight,
                                  Precision precision, float* dx, void* workspace, Stream stream) {
    if (precision != Precision::kTf32 || !is_aligned16(dy) || !serves_input(s)) return false;
    const Seen seen = seen_gradient(s);
    const size_t last_tap = (seen.taps() - 1) * s.group_in() * s.out_channels;
    for (size_t group = 0; group < s.groups; ++group) {
        HopperTask task = {};
        task.p.m = index(seen.windows());
        task.p.n = index(s.group_in());
        task.p.convolution = true;
        task.p.windows = seen.windows_of_group();
        task.p.c = dx + group * s.group_in();
        task.p.stride = s.in_channels;
        task.b = source_input(s);
        task.b.data = weight + last_tap + group * s.group_out();
        task.depth_contiguous = true;
        task.map_a = [&](size_t rows) { return seen.map(dy, group, rows); };
        task.lines = seen.windows();
        task.neighbours = s.group_in();
        run_hopper(task, workspace, stream);
    }
    return true;
}

size_t hopper_conv2d_backward_weight_workspace(const Conv2dShape& s) {
    if (!serves_weight(s)) return 0;
    const HopperSource b = source_weight(s);
    return hopper_workspace(hopper_cut(unit_rows(s), b.rows, b.steps()), b,
                            s.window() * s.group_out());
}

bool hopper_conv2d_backward_weight(const Conv2dShape& s, const float* dy, const float* x,
                                   Precision precision, float* dweight, void* workspace,
                                   Stream stream) {
    if (precision != Precision::kTf32 || !is_aligned16(x) || !serves_weight(s)) return false;
    const Seen seen = seen_input(s);
    for (size_t group = 0; group < s.groups; ++group) {
        HopperTask task = {};
        task.p.m = index(unit_rows(s));
        task.p.n = index(s.group_out());
        task.p.convolution = true;
        task.p.windows = seen.windows_of_group();
        task.p.rows_are_units = seen.channels % kStepDepth != 0;
        task.p.c = dweight + group * s.group_out();
        task.p.stride = s.out_channels;
        task.b = source_weight(s);
        task.b.data = dy + group * s.group_out();
        task.map_a = [&](size_t) { return seen.map(x, group, kStepDepth); };
        task.lines = s.window();
        task.neighbours = s.group_out();
        run_hopper(task, workspace, stream);
    }
    return true;
}

}  // namespace alexnet::cuda
