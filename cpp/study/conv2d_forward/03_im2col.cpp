// A matrix of windows, times a packed matrix of weights.
//
// Change: every window is copied into a row of a matrix; convolution is then its product with the
//   weights as they lie, (kernel * kernel * in, out). The weights are packed: the kColumns output
//   channels that a tile needs stand together for each step.
// Why: packed weights are read in one stream, which the prefetcher follows and each line of which is
//   used as a whole. Rows of the tile may be any pixels, so that only the last tile is not full,
//   where before every row of 13 ended with a tile of one.
// Predicted: 1.8 times: near the peak of one core, less the copy: 2 * out FLOP for each element that
//   is copied, 768 here, are worth 12 cycles, and copying takes one or two.
// Gained: 2.8 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

constexpr size_t kRows = 6;
constexpr size_t kVectors = kLanes == 16 ? 4 : 2;  // 24 sums of 32 registers, or 12 of 16
constexpr size_t kColumns = kVectors * kLanes;

// C[rows x columns] = A[rows x depth] . B, of which B is a packed panel.
template <size_t rows>
static void tile(size_t depth, const float* a, size_t a_row, const float* b, float* c, size_t c_row,
                 size_t columns) {
    Vec sum[rows][kVectors];
    for (auto& row : sum) {
        for (Vec& v : row) v = zero();
    }
    for (size_t k = 0; k < depth; ++k, b += kColumns) {
        Vec w[kVectors];
        for (size_t v = 0; v < kVectors; ++v) w[v] = load(b + v * kLanes);
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; ++i) {
            const Vec value = broadcast(a[i * a_row + k]);
#pragma GCC unroll 8
            for (size_t v = 0; v < kVectors; ++v) sum[i][v] = fma(value, w[v], sum[i][v]);
        }
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t v = 0; v * kLanes < columns; ++v) {
            store_upto(c + i * c_row + v * kLanes, sum[i][v], columns - v * kLanes);
        }
    }
}

// Panels of kColumns output channels, each [depth][kColumns], with zeros where there are no more.
static void pack(size_t depth, size_t out, const float* weight, float* packed) {
    for (size_t o = 0; o < out; o += kColumns) {
        for (size_t k = 0; k < depth; ++k, packed += kColumns) {
            for (size_t i = 0; i < kColumns; ++i) {
                packed[i] = o + i < out ? weight[k * out + o + i] : 0;
            }
        }
    }
}

// Row `pixel` of the matrix: the window of an output, zeros outside of the image.
static void copy_window(const Conv2d& s, const float* x, size_t pixel, float* row) {
    const size_t ow = pixel % s.out_width, oh = pixel / s.out_width % s.out_height;
    x += pixel / s.out_width / s.out_height * s.in_height * s.in_width * s.in_channels;
    for (size_t kh = 0; kh < s.kernel_height; ++kh) {
        const size_t h = oh * s.stride + kh - s.pad_top;  // wraps around if outside
        for (size_t kw = 0; kw < s.kernel_width; ++kw, row += s.in_channels) {
            const size_t w = ow * s.stride + kw - s.pad_left;
            const bool inside = h < s.in_height && w < s.in_width;
            const float* from = x + (h * s.in_width + w) * s.in_channels;
            for (size_t c = 0; c < s.in_channels; ++c) row[c] = inside ? from[c] : 0;
        }
    }
}

RUNG(const Conv2d& s, const float* x, const float* weight, float* y) {
    const size_t depth = s.kernel_height * s.kernel_width * s.in_channels;
    const size_t panels = (s.out_channels + kColumns - 1) / kColumns;
    const size_t pixels = s.out_height * s.out_width;  // of an image
    float* packed = scratch(panels * depth * kColumns + pixels * depth);
    float* windows = packed + panels * depth * kColumns;
    pack(depth, s.out_channels, weight, packed);
    for (size_t n = 0; n < s.batch; ++n, y += pixels * s.out_channels) {
        for (size_t i = 0; i < pixels; ++i) {
            copy_window(s, x, n * pixels + i, windows + i * depth);
        }
        for (size_t p = 0; p < panels; ++p) {
            const float* b = packed + p * depth * kColumns;
            const size_t o = p * kColumns, columns = s.out_channels - o;
            const size_t used = columns < kColumns ? columns : kColumns;
            size_t i = 0;
            for (; i + kRows <= pixels; i += kRows) {
                tile<kRows>(depth, windows + i * depth, depth, b, y + i * s.out_channels + o,
                            s.out_channels, used);
            }
            for (; i < pixels; ++i) {
                tile<1>(depth, windows + i * depth, depth, b, y + i * s.out_channels + o,
                        s.out_channels, used);
            }
        }
    }
}
