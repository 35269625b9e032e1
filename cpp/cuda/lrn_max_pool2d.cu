// LRN (lrn.cu) and max pooling of its output (max_pool2d.cu) in one pass, and their gradient: what
// lies between the two, as large as x, is neither written nor read.
//
// For what the kernels in registers of both take: beta 0.75, radius 2, 4 or 5, windows of 3 x 3 or
// 2 x 2 at stride 2, and at most 256 channels, a number that 16 bytes divide.
// Warps: each owns a tile of neighbouring windows, or steps of windows, in a row, all channels of
//   them, 8 floats a lane (lrn.cuh has the layout; what is called a pixel there is a window or a
//   step here). Forward it goes down some rows of y, and keeps the maxima of the row of x that two
//   windows share; so LRN of a pixel is computed 3/2 times with windows of 3 x 3. Backward it owns
//   the 2 x 2 pixels of each step, gathers the gradient of the normalised x from the windows around
//   and takes it through LRN, all of that once.
// Cost: with radius 4 forward 47 instructions of sm_90 an element of x against 5 bytes, of 16 bits
//   39 against 2.5: bound by issue, in 16 bits 1.8 times. Backward 75 against 9 and 58 against 4.75:
//   float memory-bound, 16 bits by issue, 1.5 times.
// Numerics: those of the two operators.

#include "alexnet/lrn_max_pool2d.h"
#include "lrn.cuh"
#include "max_pool2d_windows.cuh"

namespace alexnet::cuda {
namespace {

template <class T>
constexpr int kRuns = 2 * kVector<float> / kVector<T>;  // of a lane: 8 floats

constexpr int kThreads = 128;  // of a block: small ones, as each thread takes many registers

// Of a lane's runs. nvcc takes no lambda that has such an array as a parameter.
template <int width, int runs>
struct MaximaOfLane {
    Maxima<width> at[runs];
    __device__ Maxima<width>& operator[](int i) { return at[i]; }
};

// A warp's part of the work: a tile of a row, in an image, from a row on.
struct Part {
    size_t image;
    int begin, tile;
};

// False where the warp has none. Parts are counted along a row, then down, then by image.
__device__ bool find_part(size_t batch, int parts_down, int tiles, Part& part) {
    const size_t warp = warp_of_grid();
    const size_t row = warp / tiles;
    part = {row / parts_down, static_cast<int>(row % parts_down), static_cast<int>(warp % tiles)};
    return part.image < batch;
}

template <class T, int radius, class W>
__global__ void __launch_bounds__(kThreads, 3)
    forward(Pool p, LrnTiling tiling, LrnParameters k, int tiles, int strips, int strip_rows,
            const T* __restrict__ x, T* y, uint8_t* positions) {
    constexpr int kWidth = kVector<T>;
    Part part;
    if (!find_part(p.batch, strips, tiles, part)) return;
    const LrnLane<kRuns<T>> lane(tiling);
    const int used = tiling.pixels * tiling.runs;
    int ow[kRuns<T>], left[kRuns<T>];
    bool has[kRuns<T>];
#pragma unroll
    for (int i = 0; i < kRuns<T>; ++i) {
        ow[i] = part.tile * tiling.pixels + lane.pixel[i];
        left[i] = ow[i] * W::stride - p.pad_left;
        has[i] = lane.pixel[i] < tiling.pixels && ow[i] < p.out_width;
    }
    const T* image = x + part.image * p.in_height * p.in_width * p.channels;
    using Row = MaximaOfLane<kWidth, kRuns<T>>;
    const auto find_maxima = [&](int h, Row& row) {
        const T* line = image + size_t(inside(h, p.in_height)) * p.in_width * p.channels;
        Floats<kWidth> values[W::window][kRuns<T>];
        int column[W::window][kRuns<T>];
#pragma unroll
        for (int j = 0; j < W::window; ++j) {
#pragma unroll
            for (int i = 0; i < kRuns<T>; ++i) {
                const int w = inside(left[i] + j, p.in_width);
                column[j][i] = w - left[i];
                const T* run = line + size_t(w) * p.channels + lane.run[i] * kWidth;
                values[j][i] = has[i] ? load_floats<kWidth>(run) : Floats<kWidth>::of(0);
            }
        }
#pragma unroll
        for (int j = 0; j < W::window; ++j) {
            Floats<kWidth> normalised[kRuns<T>];
            lrn_values<radius>(values[j], lane, tiling, used, k, normalised);
#pragma unroll
            for (int i = 0; i < kRuns<T>; ++i) {
                if (j == 0) {
                    row[i] = Maxima<kWidth>::of_first(normalised[i], column[j][i]);
                } else {
                    row[i].see(normalised[i], column[j][i]);
                }
            }
        }
    };
    Row rows[W::window];
    const int begin = part.begin * strip_rows, end = min(begin + strip_rows, p.out_height);
    int top = begin * W::stride - p.pad_top;
#pragma unroll
    for (int i = 0; i < W::shared; ++i) find_maxima(top + i, rows[i]);
    for (int oh = begin; oh < end; ++oh, top += W::stride) {
#pragma unroll
        for (int i = W::shared; i < W::window; ++i) find_maxima(top + i, rows[i]);
        const size_t line = (part.image * p.out_height + oh) * p.out_width;
#pragma unroll
        for (int i = 0; i < kRuns<T>; ++i) {
            const auto first_of = [&](int row) {
                return (inside(top + row, p.in_height) - top) * W::window;
            };
            auto best = rows[0][i].counted_from(first_of(0));
#pragma unroll
            for (int r = 1; r < W::window; ++r) best.see_row(rows[r][i], first_of(r));
            if (!has[i]) continue;
            const size_t at = (line + ow[i]) * p.channels + lane.run[i] * kWidth;
            store_floats(y + at, best.values());
            if (positions) store_positions(positions + at, best);
        }
#pragma unroll
        for (int r = 0; r < W::shared; ++r) {
#pragma unroll
            for (int i = 0; i < kRuns<T>; ++i) rows[r][i] = rows[r + W::stride][i];
        }
    }
}

template <class T, int radius, class W>
__global__ void __launch_bounds__(kThreads, 3)
    backward(Pool p, LrnTiling tiling, LrnParameters k, int tiles, int steps_down,
             const T* __restrict__ dy, const T* __restrict__ x,
             const uint8_t* __restrict__ positions, bool through_relu, T* dx) {
    constexpr int kWidth = kVector<T>;
    Part part;
    if (!find_part(p.batch, steps_down, tiles, part)) return;
    const LrnLane<kRuns<T>> lane(tiling);
    const int used = tiling.pixels * tiling.runs;
    const size_t windows = part.image * p.out_height * p.out_width * p.channels;
    const size_t image = part.image * p.in_height * p.in_width * p.channels;
    StepGradients<W, T> steps[kRuns<T>];
    int left[kRuns<T>];
#pragma unroll
    for (int i = 0; i < kRuns<T>; ++i) {
        const int across = part.tile * tiling.pixels + lane.pixel[i];
        const int out = p.in_width;  // where an idle lane's pixels are
        left[i] = lane.pixel[i] < tiling.pixels ? across * W::stride - p.pad_left : out;
        const size_t run = windows + lane.run[i] * kWidth;
        steps[i].choose(p, across);
        steps[i].template load<W::before + 1>(p, dy + run, positions + run, part.begin, false);
    }
#pragma unroll
    for (int row = 0; row < W::stride; ++row) {
        const int h = part.begin * W::stride - p.pad_top + row;
        if (h < 0 || h >= p.in_height) continue;  // so in all lanes
#pragma unroll
        for (int column = 0; column < W::stride; ++column) {
            Floats<kWidth> values[kRuns<T>], gradients[kRuns<T>];
            size_t at[kRuns<T>];
            bool is[kRuns<T>];
#pragma unroll
            for (int i = 0; i < kRuns<T>; ++i) {
                const int w = left[i] + column;
                is[i] = 0 <= w && w < p.in_width;
                at[i] = image + (size_t(h) * p.in_width + w) * p.channels + lane.run[i] * kWidth;
                values[i] = is[i] ? load_floats<kWidth>(x + at[i]) : Floats<kWidth>::of(0);
                gradients[i] = steps[i].of(row, column);
            }
            lrn_gradients<radius>(values, lane, tiling, used, k, through_relu, gradients);
#pragma unroll
            for (int i = 0; i < kRuns<T>; ++i) {
                if (is[i]) store_floats(dx + at[i], gradients[i]);
            }
        }
    }
}

unsigned blocks(size_t batch, int down, int tiles) {
    constexpr size_t kWarps = kThreads / kWarp;
    return static_cast<unsigned>((batch * down * tiles + kWarps - 1) / kWarps);
}

int parts(int extent, int each) { return (extent + each - 1) / each; }

// Calls body(radius, windows, the tiling) if there are kernels; whether there are.
template <class T, class Body>
bool with_kernels(const Pool& p, const LrnParameters& k, bool fits, const Body& body) {
    if (!fits || p.channels > kWarp * kRuns<T> * kVector<T>) return false;
    bool done = false;
    with_windows(p, [&](auto windows) {
        done = with_lrn_radius(k, [&](auto radius) {
            body(radius, windows, LrnTiling(p.channels / kVector<T>, kRuns<T>));
        });
    });
    return done;
}

}  // namespace

template <class T>
bool lrn_max_pool2d(const Pool2dShape& shape, const LrnParameters& parameters, const T* x, T* y,
                    void* positions, Stream stream) {
    const Pool p = pool_on_device(shape);
    const bool fits = fits_vectors(shape.channels, x, y, positions);
    return with_kernels<T>(p, parameters, fits, [&](auto radius, auto windows, LrnTiling tiling) {
        // Enough warps for all of the device, each with as many rows as that leaves.
        const size_t warps = multiprocessors() * 12;
        const int tiles = parts(p.out_width, tiling.pixels);
        const size_t wanted = warps / std::max<size_t>(p.batch * tiles, 1) + 1;
        const int rows =
            parts(p.out_height, static_cast<int>(std::min<size_t>(wanted, p.out_height)));
        const int strips = parts(p.out_height, rows);
        launch("lrn_max_pool2d", forward<T, radius, decltype(windows)>,
               blocks(p.batch, strips, tiles), kThreads, 0, stream, p, tiling, parameters, tiles,
               strips, rows, x, y, static_cast<uint8_t*>(positions));
    });
}

template <class T>
bool lrn_max_pool2d_backward(const Pool2dShape& shape, const LrnParameters& parameters, const T* dy,
                             const T* x, const void* positions, bool through_relu, T* dx,
                             Stream stream) {
    const Pool p = pool_on_device(shape);
    const bool fits = fits_vectors(shape.channels, dy, x, dx, positions);
    return with_kernels<T>(p, parameters, fits, [&](auto radius, auto windows, LrnTiling tiling) {
        using W = decltype(windows);
        const int down = pool_steps(p.in_height, p.pad_top, W::stride);
        const int tiles = parts(pool_steps(p.in_width, p.pad_left, W::stride), tiling.pixels);
        launch("lrn_max_pool2d_backward", backward<T, radius, W>, blocks(p.batch, down, tiles),
               kThreads, 0, stream, p, tiling, parameters, tiles, down, dy, x,
               static_cast<const uint8_t*>(positions), through_relu, dx);
    });
}

#define ALEXNET_INSTANTIATE(T)                                                                  \
    template bool lrn_max_pool2d(const Pool2dShape&, const LrnParameters&, const T*, T*, void*, \
                                 Stream);                                                       \
    template bool lrn_max_pool2d_backward(const Pool2dShape&, const LrnParameters&, const T*,   \
                                          const T*, const void*, bool, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
