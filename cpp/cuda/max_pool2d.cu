// Max pooling, NHWC, and its gradient.
//   y[n,oh,ow,c] = max of x over the window of (oh, ow), what lies outside of the image left out
//   dx[n,h,w,c] = Σ dy over the windows of which x[n,h,w,c] is the first maximum
// Kept for backward, where it is asked for: the position of each maximum in its window, a byte.
//   Without them, backward begins with a pass over x that finds them.
//
// Here are the kernels for windows of 3 x 3 or 2 x 2 at stride 2 and channels that 16 bytes divide;
// max_pool2d_any.cu has every other case.
// Threads: each owns 16 bytes of neighbouring channels. Forward, of a column of y, some rows one
//   after the other, and keeps the maxima of the row of x that two windows share. Backward, of the
//   2 x 2 pixels of dx between the steps of a window: four windows of 3 x 3 reach there, one of
//   2 x 2, so that dy and positions are read once for each pixel of dx.
// Cost: forward 2 comparisons a pixel of x, backward 9/4 a pixel of dx: memory-bound. Arrays pass
//   global memory once; between threads, x comes from the caches 3/2 times, dy and positions four
//   times.
// Numerics: values are copied, never computed; sums run in the order of the windows.

#include <stdexcept>
#include <string>

#include "max_pool2d.cuh"

namespace alexnet::cuda {
namespace {

template <class T, class W>
__global__ void __launch_bounds__(kBlockThreads)
    forward(Pool p, int strips, int strip_rows, const T* __restrict__ x, T* y, uint8_t* positions) {
    constexpr int kWidth = kVector<T>;
    const int runs = p.channels / kWidth;
    const auto index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (index >= p.out_width * runs) return;
    const int ow = index / runs, channel = index % runs * kWidth;
    const int left = ow * W::stride - p.pad_left, first_column = max(-left, 0);
    for (size_t strip = blockIdx.y; strip < p.batch * strips; strip += gridDim.y) {
        const size_t image = strip / strips;
        const int begin = static_cast<int>(strip % strips) * strip_rows;
        const int end = min(begin + strip_rows, p.out_height);
        const T* image_x = x + image * p.in_height * p.in_width * p.channels + channel;
        const auto maxima_of_row = [&](int h) {
            Floats<kWidth> values[W::window];
#pragma unroll
            for (int j = 0; j < W::window; ++j) {
                const int w = left + j;
                const bool is = 0 <= h && h < p.in_height && 0 <= w && w < p.in_width;
                const T* pixel = image_x + (size_t(h) * p.in_width + w) * p.channels;
                values[j] = is ? load_floats<kWidth>(pixel) : Floats<kWidth>::of(-INFINITY);
            }
            auto row = Maxima<kWidth>::of_nothing(first_column);
#pragma unroll
            for (int j = 0; j < W::window; ++j) row.see(values[j], j);
            return row;
        };
        Maxima<kWidth> rows[W::window];
        int top = begin * W::stride - p.pad_top;
#pragma unroll
        for (int i = 0; i < W::shared; ++i) rows[i] = maxima_of_row(top + i);
        for (int oh = begin; oh < end; ++oh, top += W::stride) {
#pragma unroll
            for (int i = W::shared; i < W::window; ++i) rows[i] = maxima_of_row(top + i);
            auto best = Maxima<kWidth>::of_nothing(max(-top, 0) * W::window + first_column);
#pragma unroll
            for (int i = 0; i < W::window; ++i) best.see_row(rows[i], i * W::window);
            const size_t at =
                ((image * p.out_height + oh) * p.out_width + ow) * p.channels + channel;
            if (y) store_floats(y + at, best.values());
            if (positions) store_positions(positions + at, best);
#pragma unroll
            for (int i = 0; i < W::shared; ++i) rows[i] = rows[i + W::stride];
        }
    }
}

template <class T, class W>
__global__ void __launch_bounds__(kBlockThreads)
    backward(Pool p, const T* __restrict__ dy, const uint8_t* __restrict__ positions,
             bool through_relu, T* dx) {
    constexpr int kWidth = kVector<T>;
    const int runs = p.channels / kWidth;
    const auto index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (index >= pool_steps(p.in_width, p.pad_left, W::stride) * runs) return;
    const int across = index / runs, channel = index % runs * kWidth;
    const int rows = pool_steps(p.in_height, p.pad_top, W::stride);
    for (size_t row = blockIdx.y; row < p.batch * rows; row += gridDim.y) {
        const size_t image = row / rows;
        const int down = static_cast<int>(row % rows);
        const size_t windows = image * p.out_height * p.out_width * p.channels + channel;
        StepGradients<W, kWidth> gradients;
        gradients.load(p, dy + windows, positions + windows, down, across, through_relu);
        T* image_dx = dx + image * p.in_height * p.in_width * p.channels + channel;
#pragma unroll
        for (int i = 0; i < W::stride; ++i) {
#pragma unroll
            for (int j = 0; j < W::stride; ++j) {
                const int h = down * W::stride - p.pad_top + i;
                const int w = across * W::stride - p.pad_left + j;
                if (h < 0 || h >= p.in_height || w < 0 || w >= p.in_width) continue;
                store_floats(image_dx + (size_t(h) * p.in_width + w) * p.channels,
                             gradients.of(i, j));
            }
        }
    }
}

// How far the windows of an axis reach, counted from the edge of the padding.
void check_reach(size_t outputs, size_t stride, size_t window) {
    const size_t reach = (outputs - 1) * stride + window;
    if (reach < size_t{1} << 31) return;
    throw std::length_error("max_pool2d: windows reach over " + std::to_string(reach) +
                            " pixels, expected at most 2^31 - 1");
}

}  // namespace

Pool pool_on_device(const Pool2dShape& s) {
    check_reach(s.out_height, s.stride_height, s.window_height);
    check_reach(s.out_width, s.stride_width, s.window_width);
    const auto i = [](size_t extent) { return static_cast<int>(extent); };
    return {i(s.in_height),     i(s.in_width),     i(s.out_height),    i(s.out_width),
            i(s.window_height), i(s.window_width), i(s.stride_height), i(s.stride_width),
            i(s.pad_top),       i(s.pad_left),     i(s.channels),      s.batch};
}

bool has_byte_positions(const Pool2dShape& shape) {
    constexpr size_t kMost = 128;
    return shape.window_height <= kMost && shape.window_width <= kMost &&
           shape.window_height * shape.window_width <= kMost;
}

template <class T>
void max_pool2d(const Pool2dShape& shape, const T* x, T* y, void* positions, Stream stream) {
    const Pool p = pool_on_device(shape);
    const bool fits = fits_vectors(shape.channels, x, y, positions);
    const bool is_known =
        fits && with_windows(p, [&](auto windows) {
            // Enough threads for a large device, each with as many rows as that leaves.
            constexpr size_t kThreads = 132 * 512;
            const size_t across = shape.out_width * shape.channels / kVector<T>;
            const size_t wanted = kThreads / std::max<size_t>(across * shape.batch, 1) + 1;
            const size_t parts = std::min(wanted, shape.out_height);
            const auto rows = static_cast<int>((shape.out_height + parts - 1) / parts);
            const int strips = (p.out_height + rows - 1) / rows;
            launch("max_pool2d", forward<T, decltype(windows)>,
                   pool_grid(across, shape.batch * strips), kBlockThreads, 0, stream, p, strips,
                   rows, x, y, static_cast<uint8_t*>(positions));
        });
    if (!is_known) max_pool2d_any(shape, x, y, positions, stream);
}

template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const T* dy, const void* positions,
                         bool through_relu, T* dx, Stream stream) {
    const Pool p = pool_on_device(shape);
    const bool fits = fits_vectors(shape.channels, dy, dx, positions);
    const bool is_known =
        fits && with_windows(p, [&](auto windows) {
            using W = decltype(windows);
            const size_t across =
                size_t(pool_steps(p.in_width, p.pad_left, W::stride)) * p.channels / kVector<T>;
            const size_t rows = shape.batch * pool_steps(p.in_height, p.pad_top, W::stride);
            launch("max_pool2d_backward", backward<T, W>, pool_grid(across, rows), kBlockThreads, 0,
                   stream, p, dy, static_cast<const uint8_t*>(positions), through_relu, dx);
        });
    if (!is_known) max_pool2d_backward_any(shape, dy, positions, through_relu, dx, stream);
}

#define ALEXNET_INSTANTIATE(T)                                                 \
    template void max_pool2d(const Pool2dShape&, const T*, T*, void*, Stream); \
    template void max_pool2d_backward(const Pool2dShape&, const T*, const void*, bool, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
