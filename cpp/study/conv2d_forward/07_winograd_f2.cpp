// Winograd's F(2 x 2, 3 x 3): 16 products where the definition has 36.
//
// Serves: windows of 3 x 3 at stride 1.
// Change: tiles of 2 x 2 outputs. Their 4 x 4 inputs and the 3 x 3 taps are transformed to the values
//   of polynomials at 4 x 4 points (V and U), multiplied there, element by element (M), and
//   transformed back. For each of the 16 elements that is a matrix product over the channels. A
//   thread has whole images.
// Why: multiplying polynomials of 2 and 3 coefficients takes 4 products, one a point, not 6 (Lavin
//   and Gray, arXiv 1509.09308; winograd_matrices.h has the matrices): 2.25 times fewer in two
//   dimensions. The transforms are additions, and are shared by all channels on the other side.
// Predicted: 1.5 times: 13 x 13 outputs need 7 x 7 tiles, 784 products against 1521: 1.9 times fewer.
//   V and M pass through the caches, 16 floats for 4 outputs.
// Gained: 1.5 times (two threads of a Xeon, Sapphire Rapids).

#include "winograd.h"

constexpr size_t kM = 2, kN = kM + 2;  // outputs and points along a side of a tile

RUNG(const Conv2d& s, const float* x, const float* weight, float* y) {
    if (s.kernel_height != 3 || s.kernel_width != 3 || s.stride != 1) return;
    const size_t in = s.in_channels, out = s.out_channels;
    const size_t rows = (s.out_height + kM - 1) / kM, row = (s.out_width + kM - 1) / kM;
    const size_t tiles = rows * row, panels = (out + kColumns - 1) / kColumns;
    const size_t depth = (in + kLanes - 1) / kLanes * kLanes, wide = panels * kColumns;
    // A line more between elements: at multiples of 4 KiB all would compete for one set of L1.
    const size_t weights = in * wide + 16, inputs = tiles * depth + 16, outputs = tiles * wide + 16;
    const auto team = static_cast<size_t>(threads());
    float* u = scratch(kN * kN * (weights + team * (inputs + outputs)));
    float* memory = u + kN * kN * weights;
#pragma omp parallel num_threads(threads())
    {
#pragma omp for
        for (size_t c = 0; c < in; ++c) {  // U = G g G^T, packed in panels
            for (size_t o = 0; o < wide; o += kLanes) {
                Vec taps[9], points[kN * kN];
                for (size_t k = 0; k < 9; ++k) {
                    taps[k] =
                        o < out ? load_upto(weight + (k * in + c) * out + o, out - o) : zero();
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
                const float* image = x + n * s.in_height * s.in_width * in;
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
                            store_upto(y + pixel * out + o, values[k], out - o);
                        }
                    }
                }
            }
        }
    }
}
