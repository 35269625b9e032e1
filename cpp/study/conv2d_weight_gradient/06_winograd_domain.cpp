// F(4 x 4, 3 x 3) the other way round: sums over the tiles in the domain of the points.
//
// Serves: windows of 3 x 3 at stride 1.
// Change: V of x as in conv2d-forward, and dM = A dy A^T, the other way round: from 4 x 4 gradients to
//   6 x 6 points. Their products are summed over all tiles of all images, 36 matrix products of
//   (in, tiles) by (tiles, out); G^T . G brings the sums back to 3 x 3 taps, once.
// Why: y = A^T [(G g G^T) V] A is linear in g: its gradient with respect to g is the transposed way.
//   A tile takes 36 products where the definition has 144.
// Predicted: 2 times: 576 products for 1521, less the transforms of x and dy.
// Gained: 1 times (two threads of a Xeon, Sapphire Rapids).

#include "winograd.h"

constexpr size_t kM = 4, kN = kM + 2, kElements = kN * kN;

// U[c][o] of one element: rows c .. c + rows of the sum over the tiles of V[c] * dM[o].
template <size_t rows>
static void sum_tiles(size_t tiles, const float* v, size_t v_row, const float* m, size_t m_row,
                      float* u) {
    Vec sum[rows][kVectors];
    for (auto& row : sum) {
        for (Vec& s : row) s = zero();
    }
    for (size_t t = 0; t < tiles; ++t, v += v_row, m += m_row) {
        Vec gradient[kVectors];
        for (size_t j = 0; j < kVectors; ++j) gradient[j] = load(m + j * kLanes);
#pragma GCC unroll 8
        for (size_t i = 0; i < rows; ++i) {
            const Vec value = broadcast(v[i]);
#pragma GCC unroll 8
            for (size_t j = 0; j < kVectors; ++j) sum[i][j] = fma(value, gradient[j], sum[i][j]);
        }
    }
    for (size_t i = 0; i < rows; ++i) {
        for (size_t j = 0; j < kVectors; ++j) store(u + i * m_row + j * kLanes, sum[i][j]);
    }
}

// A tile of kSide x kSide pixels from (h, w) on, zeros outside, to its points.
template <typename Matrix>
static void to_points(const float* image, size_t height, size_t width, size_t channels, size_t h,
                      size_t w, float* to, size_t element) {
    for (size_t c = 0; c < channels; c += kLanes) {
        Vec in[kElements], out[kElements];
        for (size_t k = 0; k < Matrix::kColumns * Matrix::kColumns; ++k) {
            const size_t ih = h + k / Matrix::kColumns, iw = w + k % Matrix::kColumns;
            const float* pixel = image + (ih * width + iw) * channels + c;
            in[k] = ih < height && iw < width ? load_upto(pixel, channels - c) : zero();
        }
        transform<Matrix>(in, out);
        for (size_t e = 0; e < kElements; ++e) store(to + e * element + c, out[e]);
    }
}

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight) {
    if (s.kernel_height != 3 || s.kernel_width != 3 || s.stride != 1) return;
    const size_t in = s.in_channels, out = s.out_channels;
    const size_t rows = (s.out_height + kM - 1) / kM, row = (s.out_width + kM - 1) / kM;
    const size_t tiles = s.batch * rows * row, depth = (in + kLanes - 1) / kLanes * kLanes;
    const size_t wide = (out + kColumns - 1) / kColumns * kColumns;
    // A line more between elements: at multiples of 4 KiB all would compete for one set of L1.
    const size_t inputs = tiles * depth + 16, outputs = tiles * wide + 16, sums = in * wide + 16;
    float* v = scratch(kElements * (inputs + outputs + sums));
    float *m = v + kElements * inputs, *u = m + kElements * outputs;
#pragma omp parallel num_threads(threads())
    {
#pragma omp for
        for (size_t i = 0; i < tiles; ++i) {
            const size_t n = i / row / rows, h = i / row % rows * kM, w = i % row * kM;
            to_points<InputMatrix<kN>>(x + n * s.in_height * s.in_width * in, s.in_height,
                                       s.in_width, in, h - s.pad_top, w - s.pad_left, v + i * depth,
                                       inputs);
            for (size_t o = 0; o < kElements * wide; ++o)
                m[o / wide * outputs + i * wide + o % wide] = 0;
            to_points<Evaluation<kN, kM>>(dy + n * s.out_height * s.out_width * out, s.out_height,
                                          s.out_width, out, h, w, m + i * wide, outputs);
        }
#pragma omp for
        for (size_t e = 0; e < kElements; ++e) {
            for (size_t o = 0; o < wide; o += kColumns) {
                const float *a = v + e * inputs, *b = m + e * outputs + o;
                float* to = u + e * sums + o;
                size_t c = 0;
                for (; c + kRows <= in; c += kRows) {
                    sum_tiles<kRows>(tiles, a + c, depth, b, wide, to + c * wide);
                }
                for (; c < in; ++c) sum_tiles<1>(tiles, a + c, depth, b, wide, to + c * wide);
            }
        }
#pragma omp for
        for (size_t c = 0; c < in; ++c) {
            for (size_t o = 0; o < out; o += kLanes) {
                Vec points[kElements], taps[9];
                for (size_t e = 0; e < kElements; ++e)
                    points[e] = load(u + e * sums + c * wide + o);
                transform<TransposedEvaluation<kN, 3>>(points, taps);
                for (size_t k = 0; k < 9; ++k) {
                    store_upto(dweight + (k * in + c) * out + o, taps[k], out - o);
                }
            }
        }
    }
}
