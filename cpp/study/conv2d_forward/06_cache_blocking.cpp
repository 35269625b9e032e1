// A slice of the weights stays in L1 while a block of pixels passes.
//
// Change: the depth is cut into slices of at most 128 steps. All tiles of a block go through one
//   slice, 32 KB of weights, before the next: their sums wait in y. Each tile prefetches the slice
//   after it into L2.
// Why: a whole panel is 1728 * 64 * 4 = 440 KB, which each of the block's eight tiles reads anew
//   from L2: 256 bytes for 12 cycles of FMAs, a third of what L2 gives, beside the rows of x.
// Predicted: 1.1 times: less waiting for L2, for 24 loads and 24 stores of sums in 128 * 24 FMAs.
// Gained: 1 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

constexpr size_t kRows = 6;
constexpr size_t kVectors = kLanes == 16 ? 4 : 2;  // 24 sums of 32 registers, or 12 of 16
constexpr size_t kColumns = kVectors * kLanes;
constexpr size_t kBlock = 8 * kRows;  // pixels
constexpr size_t kDepth = 128;

// C[rows x columns] (+)= A . B: B is `depth` steps of a panel, row i of A begins at a[i] + first.
template <size_t rows>
static void tile(const float* const* a, size_t first, size_t depth, const float* b, bool resume,
                 float* c, size_t c_row, size_t columns) {
    Vec sum[rows][kVectors];
    for (size_t i = 0; i < rows; ++i) {
        for (size_t v = 0; v < kVectors; ++v) {
            const size_t o = v * kLanes;
            sum[i][v] = resume && o < columns ? load_upto(c + i * c_row + o, columns - o) : zero();
        }
    }
    for (size_t k = first; k < first + depth; ++k, b += kColumns) {
        Vec w[kVectors];
        for (size_t v = 0; v < kVectors; ++v) {
            w[v] = load(b + v * kLanes);
            if (rows == kRows) __builtin_prefetch(b + kDepth * kColumns + v * kLanes, 0, 2);
        }
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; ++i) {
            const Vec value = broadcast(a[i][k]);
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

// Panel o / kColumns of the weights, [depth][kColumns], with zeros where there are no more.
static void pack(size_t depth, size_t out, size_t o, const float* weight, float* packed) {
    for (size_t k = 0; k < depth; ++k, packed += kColumns) {
        for (size_t i = 0; i < kColumns; ++i) {
            packed[i] = o + i < out ? weight[k * out + o + i] : 0;
        }
    }
}

// The part of an image that windows reach, with its border of zeros: no window needs bounds.
static void pad(const Conv2d& s, const float* image, float* padded, size_t height, size_t width) {
    const size_t row = s.in_width * s.in_channels;
    for (size_t i = 0; i < height * width * s.in_channels; ++i) padded[i] = 0;
    for (size_t h = 0; h < s.in_height && h + s.pad_top < height; ++h) {
        const size_t columns = s.in_width + s.pad_left < width ? s.in_width : width - s.pad_left;
        float* to = padded + ((h + s.pad_top) * width + s.pad_left) * s.in_channels;
        for (size_t i = 0; i < columns * s.in_channels; ++i) to[i] = image[h * row + i];
    }
}

RUNG(const Conv2d& s, const float* x, const float* weight, float* y) {
    const size_t height = (s.out_height - 1) * s.stride + s.kernel_height;
    const size_t width = (s.out_width - 1) * s.stride + s.kernel_width;
    const size_t depth = s.kernel_height * s.kernel_width * s.in_channels;
    const size_t panels = (s.out_channels + kColumns - 1) / kColumns;
    const size_t x_row = width * s.in_channels, image = height * x_row;
    float* packed = scratch(panels * depth * kColumns + s.batch * image);
    float* padded = packed + panels * depth * kColumns;
    const size_t run = s.kernel_width * s.in_channels, y_row = s.out_channels;
    const size_t pixels = s.batch * s.out_height * s.out_width;
#pragma omp parallel num_threads(threads())
    {
#pragma omp for nowait
        for (size_t p = 0; p < panels; ++p) {
            pack(depth, s.out_channels, p * kColumns, weight, packed + p * depth * kColumns);
        }
#pragma omp for
        for (size_t n = 0; n < s.batch; ++n) {
            const float* from = x + n * s.in_height * s.in_width * s.in_channels;
            pad(s, from, padded + n * image, height, width);
        }
#pragma omp for
        for (size_t first = 0; first < pixels; first += kBlock) {
            const size_t count = pixels - first < kBlock ? pixels - first : kBlock;
            const float* a[kBlock];
            for (size_t i = 0; i < count; ++i) {
                const size_t row = (first + i) / s.out_width, ow = (first + i) % s.out_width;
                const size_t oh = row % s.out_height, n = row / s.out_height;
                a[i] = padded + n * image + oh * s.stride * x_row + ow * s.stride * s.in_channels;
            }
            for (size_t p = 0; p < panels; ++p) {
                const float* b = packed + p * depth * kColumns;
                const size_t o = p * kColumns, rest = y_row - o;
                const size_t used = rest < kColumns ? rest : kColumns;
                float* out = y + first * y_row + o;
                for (size_t k = 0; k < depth;) {
                    const size_t left = run - k % run, steps = left < kDepth ? left : kDepth;
                    const size_t at = k / run * x_row + k % run;
                    size_t i = 0;
                    for (; i + kRows <= count; i += kRows) {
                        tile<kRows>(a + i, at, steps, b, k > 0, out + i * y_row, y_row, used);
                    }
                    for (; i < count; ++i) {
                        tile<1>(a + i, at, steps, b, k > 0, out + i * y_row, y_row, used);
                    }
                    k += steps, b += steps * kColumns;
                }
            }
        }
    }
}
