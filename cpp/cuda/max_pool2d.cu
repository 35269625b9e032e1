// Max pooling, NHWC, and its gradient.
//   y[n,oh,ow,c] = max of x over the window of (oh, ow), what lies outside of the image left out
//   dx[n,h,w,c] = Σ dy over the windows of which x[n,h,w,c] is the first maximum
// Kept for backward: nothing; an element's windows are searched again, to tell whether it is their
//   maximum. So each element of dx has one owner, who adds in the order of the windows.
//
// Threads: each owns four neighbouring channels of a pixel (of y; backward of dx) where their
//   number is a multiple of four and arrays are aligned to 16 bytes, else one. blockIdx.x and
//   threadIdx.x run over a row's columns and channels, blockIdx.y over the rows of all images.
// Cost: a comparison for each pixel of a window; backward as many for each window that an element
//   is in, 20 with windows of 3 x 3 at stride 2. x comes from memory once, and to the threads
//   around it from the caches. Forward is memory-bound, backward about even on H100.
// Numerics: values are copied, never computed.

#include <stdexcept>
#include <string>

#include "alexnet/max_pool2d.h"
#include "device.cuh"
#include "launch.cuh"

namespace alexnet::cuda {
namespace {

// The shape in the integers of the device: extents fit 31 bits.
struct Pool {
    int in_height, in_width, out_height, out_width;
    int window_height, window_width, stride_height, stride_width, pad_top, pad_left;
    int channels;
    size_t rows;  // of all images together, of what the threads own
};

// Neighbouring channels, read and written at once.
template <int width>
struct alignas(width * sizeof(float)) Values {
    float at[width];
    static __device__ Values load(const float* p) { return *reinterpret_cast<const Values*>(p); }
    __device__ void store(float* p) const { *reinterpret_cast<Values*>(p) = *this; }
};

// Whether `later` takes the place of `best`: NaN is greater than every number, and among equals the
// first stays.
__device__ bool replaces(float later, float best) {
    return later > best || (later != later && best == best);
}

// What a window of image rows or columns covers.
struct Range {
    int first, end;
};
__device__ Range covered(int index, int stride, int pad, int window, int extent) {
    const int start = index * stride - pad;
    return {max(start, 0), min(start + window, extent)};
}

// body(image, row, column, first channel) for what the thread owns.
template <int width, class Body>
__device__ void for_pixels(const Pool& p, int height, int columns, const Body& body) {
    const int runs = p.channels / width;
    const auto index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (index >= columns * runs) return;
    const int column = index / runs, channel = index % runs * width;
    for (size_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
        body(row / height, static_cast<int>(row % height), column, channel);
    }
}

template <int width>
__global__ void __launch_bounds__(kBlockThreads) forward(Pool p, const float* x, float* y) {
    for_pixels<width>(p, p.out_height, p.out_width, [&](size_t image, int oh, int ow, int c) {
        const Range rows = covered(oh, p.stride_height, p.pad_top, p.window_height, p.in_height);
        const Range columns = covered(ow, p.stride_width, p.pad_left, p.window_width, p.in_width);
        Values<width> best;
        for (float& v : best.at) v = -INFINITY;
        for (int h = rows.first; h < rows.end; ++h) {
            const float* line = x + ((image * p.in_height + h) * p.in_width) * p.channels + c;
            for (int w = columns.first; w < columns.end; ++w) {
                const auto v = Values<width>::load(line + size_t(w) * p.channels);
#pragma unroll
                for (int i = 0; i < width; ++i) {
                    if (replaces(v.at[i], best.at[i])) best.at[i] = v.at[i];
                }
            }
        }
        best.store(y + ((image * p.out_height + oh) * p.out_width + ow) * p.channels + c);
    });
}

// The windows along one axis that cover `position`.
__device__ Range covering(int position, int stride, int pad, int window, int count) {
    const int padded = position + pad;
    const int first = padded < window ? 0 : (padded - window) / stride + 1;
    return {first, min(padded / stride + 1, count)};
}

template <int width>
__global__ void __launch_bounds__(kBlockThreads)
    backward(Pool p, const float* dy, const float* x, bool through_relu, float* dx) {
    for_pixels<width>(p, p.in_height, p.in_width, [&](size_t image, int h, int w, int c) {
        const float* image_x = x + image * p.in_height * p.in_width * p.channels + c;
        const float* image_dy = dy + image * p.out_height * p.out_width * p.channels + c;
        const auto pixel = [&](int row, int column) {
            return (size_t(row) * p.in_width + column) * p.channels;
        };
        const auto own = Values<width>::load(image_x + pixel(h, w));
        const Range across = covering(w, p.stride_width, p.pad_left, p.window_width, p.out_width);
        const Range down = covering(h, p.stride_height, p.pad_top, p.window_height, p.out_height);
        Values<width> sum = {};
        for (int oh = down.first; oh < down.end; ++oh) {
            const Range rows =
                covered(oh, p.stride_height, p.pad_top, p.window_height, p.in_height);
            for (int ow = across.first; ow < across.end; ++ow) {
                const Range columns =
                    covered(ow, p.stride_width, p.pad_left, p.window_width, p.in_width);
                bool first_maximum[width];
                for (bool& is : first_maximum) is = true;
                for (int i = rows.first; i < rows.end; ++i) {
                    for (int j = columns.first; j < columns.end; ++j) {
                        if (i == h && j == w) continue;
                        const bool before = i < h || (i == h && j < w);
                        const auto other = Values<width>::load(image_x + pixel(i, j));
#pragma unroll
                        for (int k = 0; k < width; ++k) {
                            const bool loses = before ? !replaces(own.at[k], other.at[k])
                                                      : replaces(other.at[k], own.at[k]);
                            if (loses) first_maximum[k] = false;
                        }
                    }
                }
                const auto gradient =
                    Values<width>::load(image_dy + (size_t(oh) * p.out_width + ow) * p.channels);
                for (int k = 0; k < width; ++k) {
                    if (first_maximum[k]) sum.at[k] += gradient.at[k];
                }
            }
        }
        for (int k = 0; k < width; ++k) {
            if (through_relu && !(own.at[k] > 0)) sum.at[k] = 0;
        }
        sum.store(dx + image * p.in_height * p.in_width * p.channels + c + pixel(h, w));
    });
}

// How far the windows of an axis reach, counted from the edge of the padding.
void check_reach(size_t outputs, size_t stride, size_t window) {
    const size_t reach = (outputs - 1) * stride + window;
    if (reach < size_t{1} << 31) return;
    throw std::length_error("max_pool2d: windows reach over " + std::to_string(reach) +
                            " pixels, expected at most 2^31 - 1");
}

Pool on_device(const Pool2dShape& s, size_t height) {
    check_reach(s.out_height, s.stride_height, s.window_height);
    check_reach(s.out_width, s.stride_width, s.window_width);
    const auto i = [](size_t extent) { return static_cast<int>(extent); };
    return {i(s.in_height),     i(s.in_width),     i(s.out_height),    i(s.out_width),
            i(s.window_height), i(s.window_width), i(s.stride_height), i(s.stride_width),
            i(s.pad_top),       i(s.pad_left),     i(s.channels),      s.batch * height};
}

// Blocks for rows of `columns` pixels.
dim3 grid(const Pool& p, size_t columns, int width) {
    constexpr size_t kMostRows = 65535;
    return dim3(blocks_for(columns * p.channels / width),
                static_cast<unsigned>(std::min(p.rows, kMostRows)));
}

}  // namespace

void max_pool2d(const Pool2dShape& shape, const float* x, float* y, Stream stream) {
    const Pool p = on_device(shape, shape.out_height);
    const bool vectors = shape.channels % 4 == 0 && is_aligned16(x) && is_aligned16(y);
    launch("max_pool2d", vectors ? forward<4> : forward<1>,
           grid(p, shape.out_width, vectors ? 4 : 1), kBlockThreads, 0, stream, p, x, y);
}

void max_pool2d_backward(const Pool2dShape& shape, const float* dy, const float* x,
                         bool through_relu, float* dx, Stream stream) {
    const Pool p = on_device(shape, shape.in_height);
    const bool vectors =
        shape.channels % 4 == 0 && is_aligned16(dy) && is_aligned16(x) && is_aligned16(dx);
    launch("max_pool2d_backward", vectors ? backward<4> : backward<1>,
           grid(p, shape.in_width, vectors ? 4 : 1), kBlockThreads, 0, stream, p, dy, x,
           through_relu, dx);
}

}  // namespace alexnet::cuda
