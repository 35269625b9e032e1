// Max pooling, NHWC, and its gradient.
//   y[n,oh,ow,c] = max of x over the window of (oh, ow), what lies outside of the image left out
//   dx[n,h,w,c] = Σ dy over the windows of which x[n,h,w,c] is the first maximum
// Kept for backward, where it is asked for: the position of each maximum in its window, a byte.
//   Without them, backward begins with a pass over x that finds them.
//
// Here are the kernels for windows of 3 x 3 or 2 x 2 at stride 2 and channels that 16 bytes divide;
// max_pool2d_any.cu has every other case.
// Threads: each owns 16 bytes of neighbouring channels. Forward, of a column of y, some rows one
//   after the other: it keeps the maxima of the row of x that two windows share, and while it finishes
//   a row the next is on its way. Backward, of the 2 x 2 pixels of dx between the steps of a window,
//   some steps one below the other: four windows of 3 x 3 reach there, one of 2 x 2, and two of these
//   are those of the step above.
// Cost: forward 2 comparisons a pixel of x, backward 9/4 a pixel of dx, of two numbers at once where
//   they have 16 bits. Instructions of sm_90 an element of x: forward 6, in training 17, backward 14;
//   of 16 bits 3, 7 and 10, and 300 of a thread before its first row: memory-bound.
//   Arrays pass global memory once; between threads, x comes from the caches up to 3/2 times, dy and
//   positions up to four times.
// Numerics: values are copied, never computed, but for 0 where -0 is as large; sums run in the order of
//   the windows. How rows are shared out changes no bit.

#include <stdexcept>
#include <string>

#include "max_pool2d_windows.cuh"

namespace alexnet::cuda {
namespace {

// Of a block, and blocks of a multiprocessor: many small ones, so that all have as much to do.
constexpr unsigned kThreads = 128, kBlocks = 6;
// As many that registers have to do for; where they have not been counted, fewer.
constexpr unsigned kResident = kPackedArchitecture == 900 ? kBlocks : 4;

// A thread's part of an image: a run of channels of a column, in a strip of rows. Neighbouring threads
// have neighbouring runs, 128 bytes of them if the channels are a multiple of that; then come two
// strips, then columns, so that what these have in common is in L1 for most of a block.
struct Part {
    int strip;  // all of them where the thread has none
    int column, run;

    __device__ __forceinline__ Part(unsigned runs, unsigned columns, unsigned strips)
        : strip(strips) {
        const unsigned line = runs * columns, index = blockIdx.x * blockDim.x + threadIdx.x;
        const unsigned pair = index / (2 * line);
        if (2 * pair >= strips) return;
        const unsigned together = runs % 8 == 0 ? 8 : runs, pixels = min(2u, strips - 2 * pair);
        const unsigned of_runs = together * pixels * columns;  // the last strip may be alone
        const unsigned within = index - pair * (2 * line), group = within / of_runs;
        const unsigned rest = within - group * of_runs, place = rest / together;
        column = place / pixels;
        run = group * together + (rest - place * together);
        if (run < runs) strip = 2 * pair + (place - column * pixels);
    }
};

template <class T, class W, bool noted>
__global__ void __launch_bounds__(kThreads, kResident)
    forward(Pool p, int strips, int strip_rows, const T* __restrict__ x, T* y, uint8_t* positions) {
    using Best = PackedMaxima<T>;
    constexpr int kNew = W::window - W::shared;  // rows that the window before has not seen
    const Part part(p.channels / kVector<T>, p.out_width, strips);
    if (part.strip >= strips) return;
    const int ow = part.column, channel = part.run * kVector<T>;
    const int begin = part.strip * strip_rows, end = min(begin + strip_rows, p.out_height);
    const int left = ow * W::stride - p.pad_left;
    size_t column[W::window];  // in elements
    int place[W::window];
#pragma unroll
    for (int j = 0; j < W::window; ++j) {
        const int w = inside(left + j, p.in_width);
        column[j] = size_t(w) * p.channels + channel;
        place[j] = w - left;
    }
    for (size_t image = blockIdx.y; image < p.batch; image += gridDim.y) {
        struct Row {
            Words<16> pixels[W::window];
        };
        const auto load = [&](int h) {
            const size_t first =
                (image * p.in_height + inside(h, p.in_height)) * (p.in_width * size_t(p.channels));
            Row row;
#pragma unroll
            for (int j = 0; j < W::window; ++j) row.pixels[j] = load_words(x + first + column[j]);
            return row;
        };
        const auto find = [&](const Row& row) {
            return Best::template of<noted>(row.pixels,
                                            [&](int j, int) { return repeated<T>(place[j]); });
        };
        int top = begin * W::stride - p.pad_top;
        Row shared[W::shared + 1], ahead[kNew];
#pragma unroll
        for (int i = 0; i < W::shared; ++i) shared[i] = load(top + i);
#pragma unroll
        for (int i = 0; i < kNew; ++i) ahead[i] = load(top + W::shared + i);
        Best rows[W::window];
#pragma unroll
        for (int i = 0; i < W::shared; ++i) rows[i] = find(shared[i]);
        for (int oh = begin; oh < end; ++oh, top += W::stride) {
#pragma unroll
            for (int i = 0; i < kNew; ++i) rows[W::shared + i] = find(ahead[i]);
            if (oh + 1 < end) {  // on their way while this row is finished
#pragma unroll
                for (int i = 0; i < kNew; ++i) ahead[i] = load(top + W::window + i);
            }
            Words<16> values[W::window];
#pragma unroll
            for (int i = 0; i < W::window; ++i) values[i] = rows[i].value;
            const auto best = Best::template of<noted>(values, [&](int i, int c) {
                const int row = inside(top + i, p.in_height) - top;
                return rows[i].place.at[c] + repeated<T>(row * W::window);
            });
            const size_t at =
                ((image * p.out_height + oh) * p.out_width + ow) * p.channels + channel;
            if (y) store_words(y + at, best.value);
            if constexpr (noted) best.store_positions(positions + at);
#pragma unroll
            for (int i = 0; i < W::shared; ++i) rows[i] = rows[i + W::stride];
        }
    }
}

template <class T, class W>
__global__ void __launch_bounds__(kThreads, kResident)
    backward(Pool p, int strips, int strip_rows, const T* __restrict__ dy,
             const uint8_t* __restrict__ positions, bool through_relu, T* dx) {
    using Gradients = StepGradients<W, T>;
    const Part part(p.channels / kVector<T>, pool_steps(p.in_width, p.pad_left, W::stride), strips);
    if (part.strip >= strips) return;
    const int across = part.column, channel = part.run * kVector<T>;
    const int begin = part.strip * strip_rows;
    const int end = min(begin + strip_rows, pool_steps(p.in_height, p.pad_top, W::stride));
    Gradients step;
    step.choose(p, across);
    size_t column[W::stride];  // of dx, in elements
    bool is_column[W::stride];
#pragma unroll
    for (int j = 0; j < W::stride; ++j) {
        const int w = across * W::stride - p.pad_left + j;
        is_column[j] = 0 <= w && w < p.in_width;
        column[j] = size_t(w) * p.channels + channel;
    }
    for (size_t image = blockIdx.y; image < p.batch; image += gridDim.y) {
        const size_t first = image * p.out_height * p.out_width * p.channels + channel;
        const T* image_dy = dy + first;
        const uint8_t* image_positions = positions + first;
        step.template load<Gradients::rows>(p, image_dy, image_positions, begin, through_relu);
        for (int down = begin;;) {
#pragma unroll
            for (int i = 0; i < W::stride; ++i) {
                const int h = down * W::stride - p.pad_top + i;
                if (h < 0 || h >= p.in_height) continue;
                T* line = dx + (image * p.in_height + h) * (p.in_width * size_t(p.channels));
#pragma unroll
                for (int j = 0; j < W::stride; ++j) {
                    if (is_column[j]) store_words(line + column[j], step.rounded(i, j));
                }
            }
            if (++down == end) break;
            step.go_down();
            step.template load<1>(p, image_dy, image_positions, down, through_relu);
        }
    }
}

// How the rows of an image are shared out: strips of some rows, one after the other, for a thread of
// each column and 16 bytes. Few rows, so that there are threads for all of the device at once; more
// rows where images are many, as what strips have in common is read twice.
struct Strips {
    int rows, count;
    dim3 grid;

    Strips(size_t batch, int height, size_t line) {
        constexpr size_t kMostImages = 65535;
        const size_t threads = multiprocessors() * kThreads * kBlocks;
        const size_t wanted = threads / std::max<size_t>(line * batch, 1) + 1;
        const auto parts = static_cast<int>(std::min<size_t>(wanted, height));
        rows = (height + parts - 1) / parts;
        count = (height + rows - 1) / rows;
        grid = dim3(static_cast<unsigned>((count * line + kThreads - 1) / kThreads),
                    static_cast<unsigned>(std::min(batch, kMostImages)));
    }
};

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
            using W = decltype(windows);
            const Strips strips(p.batch, p.out_height,
                                shape.out_width * shape.channels / kVector<T>);
            launch("max_pool2d", positions ? forward<T, W, true> : forward<T, W, false>,
                   strips.grid, kThreads, 0, stream, p, strips.count, strips.rows, x, y,
                   static_cast<uint8_t*>(positions));
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
            const size_t across = pool_steps(p.in_width, p.pad_left, W::stride);
            const Strips strips(p.batch, pool_steps(p.in_height, p.pad_top, W::stride),
                                across * p.channels / kVector<T>);
            launch("max_pool2d_backward", backward<T, W>, strips.grid, kThreads, 0, stream, p,
                   strips.count, strips.rows, dy, static_cast<const uint8_t*>(positions),
                   through_relu, dx);
        });
    if (!is_known) max_pool2d_backward_any(shape, dy, positions, through_relu, dx, stream);
}

#define ALEXNET_INSTANTIATE(T)                                                 \
    template void max_pool2d(const Pool2dShape&, const T*, T*, void*, Stream); \
    template void max_pool2d_backward(const Pool2dShape&, const T*, const void*, bool, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
