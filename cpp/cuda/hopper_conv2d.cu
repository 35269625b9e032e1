// Convolutions as products of Hopper (hopper_gemm.cuh), a launch for each group.
//
//   y (pixels of y, out)        = windows of x (pixels of y, taps · in) · weight (taps · in, out)
//   dx (pixels of x, in)        = windows of dy (pixels of x, taps · out) · weightᵀ (taps · out, in)
//   dweight (taps · in, out)    = windows of xᵀ (taps · in, pixels of y) · dy (pixels of y, out)
//
// Windows are A: the tensor copy engine finds their pixels (im2col mode). The other operand is B: the
// weights, for dx with their taps in reverse, and dy; of float it is prepared.
//
// Served are groups whose channels are whole runs of 16 bytes (of float those of A alone), at least
// half of the steps that they are filled up to, and at most four groups; strides up to 8, for dx of 1;
// windows that begin at most 128 pixels outside of the image; kernels up to 256; images of 128 KiB or
// more (hopper_tensor_map.cuh).

#include <algorithm>
#include <type_traits>

#include "column_sums.cuh"
#include "hopper_launch.cuh"
#include "hopper_layers.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMostIndex = 0x7fffffff;
constexpr size_t kMostGroups = 4;

uint32_t index(size_t value) { return static_cast<uint32_t>(value); }

template <class T>
constexpr bool kIsFloat = std::is_same_v<T, float>;

// Images that are seen through windows, and the windows of all groups.
template <class T>
struct Seen {
    size_t images, channels, groups;  // channels of a group
    WindowAxis h, w;
    size_t kernel_height, kernel_width;

    size_t pixel() const { return channels * groups; }
    size_t taps() const { return kernel_height * kernel_width; }
    size_t windows() const { return images * h.windows * w.windows; }
    size_t chunks() const { return (channels + kStepDepth<T> - 1) / kStepDepth<T>; }

    bool is_possible() const {
        const size_t filled = chunks() * kStepDepth<T>;
        const size_t size = images * h.pixels * w.pixels * pixel();
        return images > 0 && channels % kVector<T> == 0 && channels > 0 && groups <= kMostGroups &&
               2 * channels >= filled && h.is_possible() && w.is_possible() &&
               kernel_height <= 256 && kernel_width <= 256 && size <= kMostIndex &&
               size * sizeof(T) >= kLeastMappedBytes && windows() <= kMostIndex &&
               taps() * filled <= kMostIndex;
    }
    CUtensorMap map(const T* data, size_t group, size_t box) const {
        return windows_map(data + group * channels, images, h, w, channels, pixel(), box);
    }
    HopperWindows windows_of_group() const {
        return {index(h.windows),           index(w.windows),          static_cast<int>(h.stride),
                static_cast<int>(w.stride), static_cast<int>(h.first), static_cast<int>(w.first),
                index(kernel_width),        index(channels),           index(chunks())};
    }
};

template <class T>
Seen<T> seen_input(const Conv2dShape& s) {
    return {s.batch,
            s.group_in(),
            s.groups,
            {s.in_height, s.out_height, s.stride_height, -static_cast<int64_t>(s.pad_top)},
            {s.in_width, s.out_width, s.stride_width, -static_cast<int64_t>(s.pad_left)},
            s.kernel_height,
            s.kernel_width};
}

// dx[h] meets dy[h + top - tap]: with taps in reverse, windows that begin at h - (kernel - 1 - top).
template <class T>
Seen<T> seen_gradient(const Conv2dShape& s) {
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

template <class T>
bool serves(const Seen<T>& seen, size_t other_channels, size_t result) {
    return seen.is_possible() && other_channels > 0 &&
           (kIsFloat<T> || other_channels % kVector<T> == 0) && result <= kMostIndex &&
           hopper_is_here();
}
template <class T>
bool serves_forward(const Conv2dShape& s) {
    return serves(seen_input<T>(s), s.group_out(), s.output_size());
}
template <class T>
bool serves_input(const Conv2dShape& s) {
    return s.stride_height == 1 && s.stride_width == 1 &&
           serves(seen_gradient<T>(s), s.group_in(), s.input_size());
}
template <class T>
bool serves_weight(const Conv2dShape& s) {
    return serves(seen_input<T>(s), s.group_out(), s.weight_size()) &&
           s.output_size() <= kMostIndex;
}
// Whether these arrays are served as well, A and B as the caller has them.
template <class T>
bool serves_arrays(Precision precision, const T* a, const T* b) {
    return kIsFloat<T> ? precision == Precision::kTf32 && is_aligned16(a)
                       : is_aligned16(a) && is_aligned16(b);
}

// B of the three directions, for any group: of the weights, of the weights from the last tap on
// backwards, and of dy; `data` is the caller's.
template <class T>
HopperSource<T> source_forward(const Conv2dShape& s) {
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

template <class T>
HopperSource<T> source_input(const Conv2dShape& s) {
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

template <class T>
HopperSource<T> source_weight(const Conv2dShape& s) {
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
template <class T>
size_t unit_rows(const Conv2dShape& s) {
    return seen_input<T>(s).taps() * seen_input<T>(s).chunks() * kStepDepth<T>;
}

template <class T>
size_t workspace_forward(const Conv2dShape& s) {
    if (!serves_forward<T>(s)) return 0;
    const size_t m = seen_input<T>(s).windows();
    return hopper_workspace(m, source_forward<T>(s), m * s.group_out());
}
template <class T>
size_t workspace_input(const Conv2dShape& s) {
    if (!serves_input<T>(s)) return 0;
    const size_t m = seen_gradient<T>(s).windows();
    return hopper_workspace(m, source_input<T>(s), m * s.group_in());
}
template <class T>
size_t workspace_weight(const Conv2dShape& s) {
    if (!serves_weight<T>(s)) return 0;
    return hopper_workspace(unit_rows<T>(s), source_weight<T>(s), s.window() * s.group_out(),
                            kIsFloat<T>);
}

}  // namespace

// bfloat16 and float16 are cut alike.
size_t hopper_conv2d_workspace(const Conv2dShape& s) {
    return std::max(workspace_forward<float>(s), workspace_forward<Bfloat16>(s));
}
size_t hopper_conv2d_backward_input_workspace(const Conv2dShape& s) {
    return std::max(workspace_input<float>(s), workspace_input<Bfloat16>(s));
}
size_t hopper_conv2d_backward_weight_workspace(const Conv2dShape& s) {
    return std::max(workspace_weight<float>(s), workspace_weight<Bfloat16>(s));
}

template <class T>
bool hopper_conv2d(const Conv2dShape& s, const T* x, const T* weight, const float* bias, bool relu,
                   Precision precision, T* y, void* workspace, Stream stream) {
    if (!serves_arrays(precision, x, weight) || !serves_forward<T>(s)) return false;
    const auto seen = seen_input<T>(s);
    for (size_t group = 0; group < s.groups; ++group) {
        HopperTask<T> task = {};
        task.p.m = index(seen.windows());
        task.p.n = index(s.group_out());
        task.p.convolution = true;
        task.p.windows = seen.windows_of_group();
        task.p.c = y + group * s.group_out();
        task.p.stride = s.out_channels;
        task.p.bias = bias ? bias + group * s.group_out() : nullptr;
        task.p.relu = relu;
        task.b = source_forward<T>(s);
        task.b.data = weight + group * s.group_out();
        task.a_along_depth = true;
        task.map_a = [&](size_t rows) { return seen.map(x, group, rows); };
        task.lines = seen.windows();
        task.neighbours = s.group_out();
        run_hopper(task, workspace, stream);
    }
    return true;
}

template <class T>
bool hopper_conv2d_backward_input(const Conv2dShape& s, const T* dy, const T* weight,
                                  const T* relu_output, Precision precision, T* dx, void* workspace,
                                  Stream stream) {
    if (!serves_arrays(precision, dy, weight) || !serves_input<T>(s)) return false;
    const auto seen = seen_gradient<T>(s);
    const size_t last_tap = (seen.taps() - 1) * s.group_in() * s.out_channels;
    for (size_t group = 0; group < s.groups; ++group) {
        HopperTask<T> task = {};
        task.p.m = index(seen.windows());
        task.p.n = index(s.group_in());
        task.p.convolution = true;
        task.p.windows = seen.windows_of_group();
        task.p.c = dx + group * s.group_in();
        task.p.relu_output = relu_output ? relu_output + group * s.group_in() : nullptr;
        task.p.stride = s.in_channels;
        task.b = source_input<T>(s);
        task.b.data = weight + last_tap + group * s.group_out();
        task.a_along_depth = true;
        task.map_a = [&](size_t rows) { return seen.map(dy, group, rows); };
        task.lines = seen.windows();
        task.neighbours = s.group_in();
        run_hopper(task, workspace, stream);
    }
    return true;
}

template <class T>
bool hopper_conv2d_backward_weight(const Conv2dShape& s, const T* dy, const T* x,
                                   Precision precision, float* dweight, float* dbias,
                                   void* workspace, Stream stream) {
    if (!serves_arrays(precision, x, dy) || !serves_weight<T>(s)) return false;
    const auto seen = seen_input<T>(s);
    for (size_t group = 0; group < s.groups; ++group) {
        HopperTask<T> task = {};
        task.p.m = index(unit_rows<T>(s));
        task.p.n = index(s.group_out());
        task.p.convolution = true;
        task.p.windows = seen.windows_of_group();
        task.p.rows_are_units = seen.channels % kStepDepth<T> != 0;
        task.p.gradient = dweight + group * s.group_out();
        task.p.stride = s.out_channels;
        task.b = source_weight<T>(s);
        task.b.data = dy + group * s.group_out();
        task.depth_sums = kIsFloat<T> && dbias ? dbias + group * s.group_out() : nullptr;
        task.map_a = [&](size_t) { return seen.map(x, group, kStepDepth<T>); };
        task.lines = s.window();
        task.neighbours = s.group_out();
        run_hopper(task, workspace, stream);
    }
    const size_t pixels = s.batch * s.out_height * s.out_width;
    if (dbias && !kIsFloat<T>) {
        column_sums(pixels, s.out_channels, dy, dbias, workspace, stream);
    }
    return true;
}

#define ALEXNET_INSTANTIATE(T)                                                                     \
    template bool hopper_conv2d(const Conv2dShape&, const T*, const T*, const float*, bool,        \
                                Precision, T*, void*, Stream);                                     \
    template bool hopper_conv2d_backward_input(const Conv2dShape&, const T*, const T*, const T*,   \
                                               Precision, T*, void*, Stream);                      \
    template bool hopper_conv2d_backward_weight(const Conv2dShape&, const T*, const T*, Precision, \
                                                float*, float*, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
