// F(4 x 4, 3 x 3): the gradient is a convolution of dy with flipped weights.
//
// Serves: windows of 3 x 3 at stride 1.
// Change: rung 8 of conv2d-forward, with dy for x, the weights flipped in both axes and their channels
//   exchanged, and a border of 2 - pad.
// Why: at stride 1 dx[h] is the sum of dy[h + pad - kh] * w[kh], which is sum of dy[h - (2 - pad) + k] *
//   w[2 - k]: nothing new has to be thought of.
// Predicted: 1.6 times: 36 products for 144, less the transforms, and less what tiles of 4 waste on 13.
// Gained: 1.4 times (two threads of a Xeon, Sapphire Rapids).

#include "winograd.h"

constexpr size_t kM = 4, kN = kM + 2;  // outputs and points along a side of a tile

RUNG(const Conv2d& f, const float* dy, const float* weight, float* dx) {
    if (f.kernel_height != 3 || f.kernel_width != 3 || f.stride != 1) return;
    // The convolution that dx is: of dy, with as much border as makes dx's size.
    const Conv2d s{f.batch,
                   f.out_height,
                   f.out_width,
                   f.out_channels,
                   f.in_height,
                   f.in_width,
                   f.in_channels,
                   3,
                   3,
                   1,
                   2 - f.pad_top,
                   2 - f.pad_left};
    const size_t taps = 9 * f.in_channels * f.out_channels;
    const size_t in = s.in_channels, out = s.out_channels;
    const size_t rows = (s.out_height + kM - 1) / kM, row = (s.out_width + kM - 1) / kM;
    const size_t tiles = rows * row, panels = (out + kColumns - 1) / kColumns;
    const size_t depth = (in + kLanes - 1) / kLanes * kLanes, wide = panels * kColumns;
    // A line more between elements: at multiples of 4 KiB all would compete for one set of L1.
    const size_t weights = in * wide + 16, inputs = tiles * depth + 16, outputs = tiles * wide + 16;
    const auto team = static_cast<size_t>(threads());
    const size_t floats = kN * kN * (weights + team * (inputs + outputs));
    float* u = scratch(floats + taps);
    float *memory = u + kN * kN * weights, *flipped = u + floats;
#pragma omp parallel num_threads(threads())
    {
#pragma omp for
        for (size_t o = 0; o < f.out_channels; ++o) {  // from [kh][kw][in][out], both ways round
            for (size_t k = 0; k < 9; ++k) {
                for (size_t c = 0; c < f.in_channels; ++c) {
                    flipped[((8 - k) * f.out_channels + o) * f.in_channels + c] =
                        weight[(k * f.in_channels + c) * f.out_channels + o];
                }
            }
        }
#pragma omp for
        for (size_t c = 0; c < in; ++c) {  // U = G g G^T, packed in panels
            for (size_t o = 0; o < wide; o += kLanes) {
                Vec taps[9], points[kN * kN];
                for (size_t k = 0; k < 9; ++k) {
                    taps[k] =
                        o < out ? load_upto(flipped + (k * in + c) * out + o, out - o) : zero();
                }
                transform<Evaluation<kN, 3>>(taps, points);
                float* to = u + (o / kColumns * in + c) * kColumns + o % kColumns;
                for (size_t e = 0; e < kN * kN; ++e) store(to + e * weights, points[e]);
            }
        }
#pragma omp for
        for (size_t t = 0; t < team; ++t) {  // each thread has images
            float* v = memory + t * kN * kN * (inputs + outputs);
            float* m = v + kN * kN * inputs;
            for (size_t n = s.batch * t / team; n < s.batch * (t + 1) / team; ++n) {
                const float* image = dy + n * s.in_height * s.in_width * in;
                for (size_t i = 0; i < tiles; ++i) {  // V = B^T d B
                    for (size_t c = 0; c < in; c += kLanes) {
                        Vec pixels[kN * kN], points[kN * kN];
                        for (size_t k = 0; k < kN * kN; ++k) {
                            const size_t h = i / row * kM + k / kN - s.pad_top;
                            const size_t w = i % row * kM + k % kN - s.pad_left;
                            const bool inside = h < s.in_height && w < s.in_width;
                            const float* pixel = image + (h * s.in_width + w) * in + c;
                            pixels[k] = inside ? load_upto(pixel, in - c) : zero();
                        }
                        transform<InputMatrix<kN>>(pixels, points);
                        for (size_t e = 0; e < kN * kN; ++e) {
                            store(v + e * inputs + i * depth + c, points[e]);
                        }
                    }
                }
                for (size_t e = 0; e < kN * kN; ++e) {  // M = V . U, an element of the tiles each
                    for (size_t p = 0; p < panels; ++p) {
                        multiply(tiles, in, v + e * inputs, depth,
                                 u + e * weights + p * in * kColumns,
                                 m + e * outputs + p * kColumns, wide);
                    }
                }
                for (size_t i = 0; i < tiles; ++i) {  // y = A^T M A
                    for (size_t o = 0; o < out; o += kLanes) {
                        Vec points[kN * kN], values[kM * kM];
                        for (size_t e = 0; e < kN * kN; ++e) {
                            points[e] = load(m + e * outputs + i * wide + o);
                        }
                        transform<TransposedEvaluation<kN, kM>>(points, values);
                        for (size_t k = 0; k < kM * kM; ++k) {
                            const size_t h = i / row * kM + k / kM, w = i % row * kM + k % kM;
                            if (h >= s.out_height || w >= s.out_width) continue;
                            const size_t pixel = (n * s.out_height + h) * s.out_width + w;
                            store_upto(dx + pixel * out + o, values[k], out - o);
                        }
                    }
                }
            }
        }
    }
}
