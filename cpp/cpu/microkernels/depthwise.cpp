// Depthwise convolution and convolution in narrow groups: vectors run over channels across groups.
//
//     channels of y, groups of two       a a b b c c d d ...     lanes, one group beside the other
//     first input channel of each        0 0 2 2 4 4 6 6 ...     spread over them
//     second                             1 1 3 3 5 5 7 7 ...
//
// Once the input channels are *spread* over the lanes of the channels they contribute to, every
// product is one of vectors, lane by lane, and no lane is idle, however narrow the groups are. A
// depthwise convolution has one product a tap; groups of n input channels have n.
//
// depthwise:         y[p] = Σ over products k: x[p, k] · w[k]     x in spread rows, w packed
// depthwise_weight:  w[k] += Σ over pixels p: x[p, k] · dy[p]
//
// Cost: 2 FLOP a product and channel, each with a load of x from L1: the FMA units and the load
// ports of L1 are busy alike. Spreading takes a load, a shuffle and a store for each element, once,
// where the window multiplies it kernel_height · kernel_width / stride² times.
// Registers: the sums, one vector of w or dy, and what the loads of x name directly.
// Numerics: one chain of FMAs for each output in the order of the products, and for each row of
// pixels and product of a weight gradient; these are summed in the order of the calls.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// --- spreading ------------------------------------------------------------------------------------

// kSources: vectors of x that the lanes come from. The last channel of x is the last one read.
template <size_t kSources>
static void spread_vectors(size_t pixels, const float* x, size_t x_pixel, size_t x_channels,
                           const int32_t* order, float* y, size_t y_pixel) {
    const Order lanes = load_order(order);
    for (; pixels > 0; --pixels, x += x_pixel, y += y_pixel) {
        const Vec low = load_upto(x, x_channels);
        const Vec high = kSources == 1 ? low : load_upto(x + kLanes, x_channels - kLanes);
        store(y, pick(low, high, lanes));
    }
}

// Lane i of a vector of y is x[order[i]], for each pixel; order ascends, and ends below x_channels.
void spread(size_t pixels, const float* x, size_t x_pixel, size_t x_channels, const int32_t* order,
            float* y, size_t y_pixel) {
    const size_t last = static_cast<size_t>(order[kLanes - 1]);
    if (last < kLanes) return spread_vectors<1>(pixels, x, x_pixel, x_channels, order, y, y_pixel);
    if (last < 2 * kLanes) {
        return spread_vectors<2>(pixels, x, x_pixel, x_channels, order, y, y_pixel);
    }
    for (; pixels > 0; --pixels, x += x_pixel, y += y_pixel) {
        for (size_t i = 0; i < kLanes; ++i) y[i] = x[order[i]];
    }
}

// --- forward, and the gradient of the input -------------------------------------------------------

ALEXNET_INLINE const float* window_row(const DepthwiseWindow& w, size_t i) {
    const size_t row = w.first + i < w.ring_rows ? w.first + i : w.first + i - w.ring_rows;
    return w.ring + row * w.row_size;
}

#if defined(ALEXNET_ISA_AVX512)
constexpr size_t kMostPixels = 14;
#else
constexpr size_t kMostPixels = 8;
#endif

// One vector of channels at some pixels. One pointer serves three pixels, as in gemm.cpp.
template <size_t kPixels>
static void depthwise_tile(const DepthwiseWindow& w, size_t offset, const float* weight,
                           const float* bias, bool relu, float* y, size_t y_pixel, size_t lanes) {
    constexpr size_t kGroups = (kPixels + 2) / 3;
    const size_t step = w.pixel_step, width = w.width;
    Vec sum[kPixels];
#pragma GCC unroll 16
    for (size_t p = 0; p < kPixels; ++p) sum[p] = zero();
    for (size_t i = 0; i < w.rows; ++i) {
        const float* group[kGroups];
        for (size_t g = 0; g < kGroups; ++g) group[g] = window_row(w, i) + offset + 3 * g * step;
        for (size_t k = w.depth; k > 0; --k) {
            const Vec wk = load(weight);
            weight += width;
#pragma GCC unroll 16
            for (size_t p = 0; p < kPixels; ++p) {
                sum[p] = fma(load(group[p / 3] + (p % 3) * step), wk, sum[p]);
            }
            for (size_t g = 0; g < kGroups; ++g) group[g] += width;
        }
    }
    const Vec added = bias ? load_upto(bias, lanes) : zero();
#pragma GCC unroll 16
    for (size_t p = 0; p < kPixels; ++p) {
        if (bias) sum[p] = add(sum[p], added);
        if (relu) sum[p] = alexnet::ALEXNET_ISA::relu(sum[p]);
        stream_lines_upto(y + p * y_pixel, sum[p], lanes);
    }
}

using DepthwiseTile = void (*)(const DepthwiseWindow& w, size_t offset, const float* weight,
                               const float* bias, bool relu, float* y, size_t y_pixel,
                               size_t lanes);

static constexpr DepthwiseTile depthwise_tiles[] = {
    depthwise_tile<1>,  depthwise_tile<2>,  depthwise_tile<3>,  depthwise_tile<4>,
    depthwise_tile<5>,  depthwise_tile<6>,  depthwise_tile<7>,  depthwise_tile<8>,
#if defined(ALEXNET_ISA_AVX512)
    depthwise_tile<9>,  depthwise_tile<10>, depthwise_tile<11>, depthwise_tile<12>,
    depthwise_tile<13>, depthwise_tile<14>,
#endif
};

// A row of output pixels, y_pixel floats apart: all `channels` of a block. bias may be null.
void depthwise(size_t pixels, const DepthwiseWindow& window, const float* weight, const float* bias,
               bool relu, float* y, size_t y_pixel, size_t channels) {
    const size_t tiles = (pixels + kMostPixels - 1) / kMostPixels;
    for (size_t t = 0; t < tiles; ++t) {
        const size_t begin = pixels * t / tiles, end = pixels * (t + 1) / tiles;
        const DepthwiseTile tile = depthwise_tiles[end - begin - 1];
        for (size_t c = 0; c < channels; c += kLanes) {
            tile(window, begin * window.pixel_step + c, weight + c, bias ? bias + c : nullptr, relu,
                 y + begin * y_pixel + c, y_pixel, channels - c);
        }
    }
}

// --- the gradient of the weights ------------------------------------------------------------------

constexpr size_t kMostWindowRows = 3;
#if defined(ALEXNET_ISA_AVX512)
constexpr size_t kMostProducts = 6;
#else
constexpr size_t kMostProducts = 4;
#endif

// kProducts products from the k-th of each of kRows rows of the window from the i-th, one vector of
// channels.
template <size_t kRows, size_t kProducts>
static void weight_tile(size_t pixels, const DepthwiseWindow& w, size_t i, size_t k, size_t channel,
                        const float* dy, size_t dy_pixel, size_t lanes, float* sums) {
    constexpr size_t kGroups = (kProducts + 2) / 3;
    const size_t width = w.width;
    Vec sum[kRows][kProducts];
    const float* group[kRows][kGroups];
    float* target[kRows];
#pragma GCC unroll 3
    for (size_t r = 0; r < kRows; ++r) {
        target[r] = sums + ((i + r) * w.depth + k) * width + channel;
#pragma GCC unroll 6
        for (size_t j = 0; j < kProducts; ++j) sum[r][j] = zero();
#pragma GCC unroll 2
        for (size_t g = 0; g < kGroups; ++g) {
            group[r][g] = window_row(w, i + r) + (k + 3 * g) * width + channel;
        }
    }
    dy += channel;
    for (; pixels > 0; --pixels, dy += dy_pixel) {
        const Vec gradient = load_upto(dy, lanes);
#pragma GCC unroll 3
        for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 6
            for (size_t j = 0; j < kProducts; ++j) {
                const float* x = group[r][j / 3] + (j % 3) * width;
                sum[r][j] = fma(load(x), gradient, sum[r][j]);
            }
#pragma GCC unroll 2
            for (size_t g = 0; g < kGroups; ++g) group[r][g] += w.pixel_step;
        }
    }
#pragma GCC unroll 3
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 6
        for (size_t j = 0; j < kProducts; ++j) {
            float* p = target[r] + j * width;
            store(p, add(load(p), sum[r][j]));
        }
    }
}

using WeightTile = void (*)(size_t pixels, const DepthwiseWindow& w, size_t i, size_t k,
                            size_t channel, const float* dy, size_t dy_pixel, size_t lanes,
                            float* sums);

template <size_t kRows>
static constexpr WeightTile weight_tiles[] = {
    weight_tile<kRows, 1>, weight_tile<kRows, 2>, weight_tile<kRows, 3>, weight_tile<kRows, 4>,
#if defined(ALEXNET_ISA_AVX512)
    weight_tile<kRows, 5>, weight_tile<kRows, 6>,
#endif
};
static constexpr const WeightTile* weight_tiles_of_rows[] = {weight_tiles<1>, weight_tiles<2>,
                                                             weight_tiles<3>};

// The sum of a row of pixels, in double: what cancels in it takes no digits with it. Two chains, as
// each addition waits for the one before.
ALEXNET_INLINE void add_row(size_t pixels, const float* dy, size_t dy_pixel, size_t lanes,
                            double* sums) {
    Wide sum = load_wide(sums), odd = broadcast_wide(0.0);
    for (; pixels >= 2; pixels -= 2, dy += 2 * dy_pixel) {
        sum = add(sum, widen(load_upto(dy, lanes)));
        odd = add(odd, widen(load_upto(dy + dy_pixel, lanes)));
    }
    if (pixels > 0) sum = add(sum, widen(load_upto(dy, lanes)));
    store_wide(sums, add(sum, odd));
}

// What a row of output pixels adds to the sums of a block, which lie as packed weights do, and to
// those of the bias, which have room for whole vectors.
void depthwise_weight(size_t pixels, const DepthwiseWindow& window, const float* dy,
                      size_t dy_pixel, size_t channels, float* sums, double* bias) {
    const size_t row_tiles = (window.rows + kMostWindowRows - 1) / kMostWindowRows;
    const size_t tiles = (window.depth + kMostProducts - 1) / kMostProducts;
    for (size_t c = 0; c < channels; c += kLanes) {
        add_row(pixels, dy + c, dy_pixel, channels - c, bias + c);
        for (size_t a = 0; a < row_tiles; ++a) {
            const size_t i = window.rows * a / row_tiles;
            const size_t rows = window.rows * (a + 1) / row_tiles - i;
            for (size_t t = 0; t < tiles; ++t) {
                const size_t k = window.depth * t / tiles;
                const size_t products = window.depth * (t + 1) / tiles - k;
                weight_tiles_of_rows[rows - 1][products - 1](pixels, window, i, k, c, dy, dy_pixel,
                                                             channels - c, sums);
            }
        }
    }
}

}  // namespace alexnet::ALEXNET_ISA
