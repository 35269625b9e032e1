// Max pooling and its gradient for any window, stride and channels; max_pool2d.cu has the formulas,
// and the kernels for what networks mostly have.
//
// Threads: each owns neighbouring channels of a pixel (of y; backward of dx), 16 bytes of them
//   where their number and the addresses allow it, else one. blockIdx.x and threadIdx.x run over a
//   row's columns and channels, blockIdx.y over the rows of all images.
// Cost: a comparison for each pixel of a window; backward one for each window that a pixel is in.
// Numerics: as in max_pool2d.cu.

#include "max_pool2d.cuh"

namespace alexnet::cuda {
namespace {

// What a window of image rows or columns covers.
struct Range {
    int first, end;
};
__device__ Range covered(int index, int stride, int pad, int window, int extent) {
    const int start = index * stride - pad;
    return {max(start, 0), min(start + window, extent)};
}

// The windows along one axis that cover `position`.
__device__ Range covering(int position, int stride, int pad, int window, int count) {
    const int padded = position + pad;
    const int first = padded < window ? 0 : (padded - window) / stride + 1;
    return {first, min(padded / stride + 1, count)};
}

// Of the image's pixel (h, w) in the window (oh, ow).
template <class Position>
__device__ Position position_of(const Pool& p, int h, int w, int oh, int ow) {
    const int row = h + p.pad_top - oh * p.stride_height;
    const int column = w + p.pad_left - ow * p.stride_width;
    return static_cast<Position>(row) * p.window_width + column;
}

// body(image, row, column, first channel) for what the thread owns of rows of `columns` pixels.
template <int width, class Body>
__device__ void for_pixels(const Pool& p, int height, int columns, const Body& body) {
    const int runs = p.channels / width;
    const auto index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (index >= columns * runs) return;
    const int column = index / runs, channel = index % runs * width;
    for (size_t row = blockIdx.y; row < p.batch * height; row += gridDim.y) {
        body(row / height, static_cast<int>(row % height), column, channel);
    }
}

template <class T, int width, class Position>
__global__ void __launch_bounds__(kBlockThreads)
    forward(Pool p, const T* x, T* y, Position* positions) {
    for_pixels<width>(p, p.out_height, p.out_width, [&](size_t image, int oh, int ow, int c) {
        const Range rows = covered(oh, p.stride_height, p.pad_top, p.window_height, p.in_height);
        const Range columns = covered(ow, p.stride_width, p.pad_left, p.window_width, p.in_width);
        auto best = Maxima<width, Position>::of_nothing(
            position_of<Position>(p, rows.first, columns.first, oh, ow));
        for (int h = rows.first; h < rows.end; ++h) {
            const T* line = x + ((image * p.in_height + h) * p.in_width) * p.channels + c;
            for (int w = columns.first; w < columns.end; ++w) {
                best.see(load_floats<width>(line + size_t(w) * p.channels),
                         position_of<Position>(p, h, w, oh, ow));
            }
        }
        const size_t at = ((image * p.out_height + oh) * p.out_width + ow) * p.channels + c;
        if (y) store_floats(y + at, best.values());
        if (positions) store_positions(positions + at, best);
    });
}

template <class T, int width, class Position>
__global__ void __launch_bounds__(kBlockThreads)
    backward(Pool p, const T* dy, const Position* positions, bool through_relu, T* dx) {
    for_pixels<width>(p, p.in_height, p.in_width, [&](size_t image, int h, int w, int c) {
        const Range down = covering(h, p.stride_height, p.pad_top, p.window_height, p.out_height);
        const Range across = covering(w, p.stride_width, p.pad_left, p.window_width, p.out_width);
        // Of a ReLU's output, maxima that are not positive get no gradient.
        const Position sign = through_relu ? 0 : kNotPositive<Position>;
        auto sum = Floats<width>::of(0);
        for (int oh = down.first; oh < down.end; ++oh) {
            for (int ow = across.first; ow < across.end; ++ow) {
                const size_t at = ((image * p.out_height + oh) * p.out_width + ow) * p.channels + c;
                const auto maxima = Positions<Position, width>::load(positions + at);
                const auto gradient = load_floats<width>(dy + at);
                const auto own = position_of<Position>(p, h, w, oh, ow);
#pragma unroll
                for (int i = 0; i < width; ++i) {
                    if ((maxima.at[i] & ~sign) == own) sum.at[i] += gradient.at[i];
                }
            }
        }
        store_floats(dx + ((image * p.in_height + h) * p.in_width + w) * p.channels + c, sum);
    });
}

// body(std::integral_constant<int, channels a thread>, a null pointer to positions)
template <class T, class Body>
void with_kinds(const Pool2dShape& shape, bool vectors, const Body& body) {
    const auto with_width = [&](auto* positions) {
        if (vectors) {
            body(std::integral_constant<int, kVector<T>>(), positions);
        } else {
            body(std::integral_constant<int, 1>(), positions);
        }
    };
    if (has_byte_positions(shape)) {
        with_width(static_cast<uint8_t*>(nullptr));
    } else {
        with_width(static_cast<uint64_t*>(nullptr));
    }
}

}  // namespace

template <class T>
void max_pool2d_any(const Pool2dShape& shape, const T* x, T* y, void* positions, Stream stream) {
    const Pool p = pool_on_device(shape);
    const bool vectors = fits_vectors(shape.channels, x, y, positions);
    with_kinds<T>(shape, vectors, [&](auto width, auto* kind) {
        using Position = std::remove_pointer_t<decltype(kind)>;
        const dim3 grid =
            pool_grid(shape.out_width * shape.channels / width, shape.batch * shape.out_height);
        launch("max_pool2d", forward<T, width, Position>, grid, kBlockThreads, 0, stream, p, x, y,
               static_cast<Position*>(positions));
    });
}

template <class T>
void max_pool2d_backward_any(const Pool2dShape& shape, const T* dy, const void* positions,
                             bool through_relu, T* dx, Stream stream) {
    const Pool p = pool_on_device(shape);
    const bool vectors = fits_vectors(shape.channels, dy, dx, positions);
    with_kinds<T>(shape, vectors, [&](auto width, auto* kind) {
        using Position = std::remove_pointer_t<decltype(kind)>;
        const dim3 grid =
            pool_grid(shape.in_width * shape.channels / width, shape.batch * shape.in_height);
        launch("max_pool2d_backward", backward<T, width, Position>, grid, kBlockThreads, 0, stream,
               p, dy, static_cast<const Position*>(positions), through_relu, dx);
    });
}

#define ALEXNET_INSTANTIATE(T)                                                                 \
    template void max_pool2d_any(const Pool2dShape&, const T*, T*, void*, Stream);             \
    template void max_pool2d_backward_any(const Pool2dShape&, const T*, const void*, bool, T*, \
                                          Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
