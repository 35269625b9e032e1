// Tiles of 4 and 5 outputs, so that no product falls outside of the image.
//
// Serves: windows of 3 x 3 at stride 1, outputs of 12 rows and columns or more, or a multiple of 4.
// Change: a side of 13 is cut into 5 + 4 + 4. Tiles of 5 have one interpolation point more, and as
//   the points come in a fixed order, the first 6 of 7 are those of tiles of 4: one U serves all.
// Why: 4 x 4 tiles of 4 cover 16 x 16 pixels for 13 x 13: a third of the products is thrown away.
//   Elements (i, j) of U multiply with the tiles that have them: the last point of a side exists in
//   the longer tiles only, which come first.
// Predicted: 1.5 times where products bound: 7 + 6 + 6 = 19 points a side, 361 products against 576.
//   The larger tiles cost precision: 3e-6 where it was 2e-6.
// Gained: 1.1 times (two threads of a Xeon, Sapphire Rapids).

#include "winograd.h"

constexpr size_t kSide = 7;  // points of the longer tiles

// One tile of kH x kW outputs whose first is (h, w): to points, or from points to values.
template <size_t kH, size_t kW>
static void to_points(const Conv2d& s, const float* image, size_t h, size_t w, size_t c,
                      float* const* v, size_t at) {
    Vec pixels[(kH + 2) * (kW + 2)], points[(kH + 2) * (kW + 2)];
    for (size_t k = 0; k < (kH + 2) * (kW + 2); ++k) {
        const size_t ih = h + k / (kW + 2) - s.pad_top, iw = w + k % (kW + 2) - s.pad_left;
        const bool inside = ih < s.in_height && iw < s.in_width;
        const float* pixel = image + (ih * s.in_width + iw) * s.in_channels + c;
        pixels[k] = inside ? load_upto(pixel, s.in_channels - c) : zero();
    }
    transform<InputMatrix<kH + 2>, InputMatrix<kW + 2>>(pixels, points);
    for (size_t k = 0; k < (kH + 2) * (kW + 2); ++k) {
        store(v[k / (kW + 2) * kSide + k % (kW + 2)] + at + c, points[k]);
    }
}

template <size_t kH, size_t kW>
static void to_values(const Conv2d& s, float* const* m, size_t at, float* image, size_t h, size_t w,
                      size_t o) {
    Vec points[(kH + 2) * (kW + 2)], values[kH * kW];
    for (size_t k = 0; k < (kH + 2) * (kW + 2); ++k) {
        points[k] = load(m[k / (kW + 2) * kSide + k % (kW + 2)] + at + o);
    }
    transform<TransposedEvaluation<kH + 2, kH>, TransposedEvaluation<kW + 2, kW>>(points, values);
    for (size_t k = 0; k < kH * kW; ++k) {
        float* pixel = image + ((h + k / kW) * s.out_width + w + k % kW) * s.out_channels;
        store_upto(pixel + o, values[k], s.out_channels - o);
    }
}

RUNG(const Conv2d& s, const float* x, const float* weight, float* y) {
    const size_t rows = s.out_height / 4, row = s.out_width / 4;  // tiles; the first are longer
    const size_t taller = s.out_height % 4, broader = s.out_width % 4;
    if (s.kernel_height != 3 || s.kernel_width != 3 || s.stride != 1) return;
    if (taller > rows || broader > row) return;
    const size_t in = s.in_channels, out = s.out_channels,
                 wide = (out + kColumns - 1) / kColumns * kColumns;
    const size_t depth = (in + kLanes - 1) / kLanes * kLanes, weights = in * wide + 16;
    const size_t elements = kSide * kSide, tiles = rows * row;
    const size_t tile_floats = tiles * (depth + wide) + 16;  // a line more, as before
    const auto team = static_cast<size_t>(threads());
    float* u = scratch(elements * (weights + team * tile_floats));
    float* memory = u + elements * weights;
#pragma omp parallel num_threads(threads())
    {
#pragma omp for
        for (size_t c = 0; c < in; ++c) {
            for (size_t o = 0; o < wide; o += kLanes) {
                Vec taps[9], points[kSide * kSide];
                for (size_t k = 0; k < 9; ++k) {
                    taps[k] =
                        o < out ? load_upto(weight + (k * in + c) * out + o, out - o) : zero();
                }
                transform<Evaluation<kSide, 3>>(taps, points);
                float* to = u + (o / kColumns * in + c) * kColumns + o % kColumns;
                for (size_t e = 0; e < elements; ++e) store(to + e * weights, points[e]);
            }
        }
#pragma omp for
        for (size_t t = 0; t < team; ++t) {
            float *v[kSide * kSide], *m[kSide * kSide];
            for (size_t e = 0; e < elements; ++e) {
                v[e] = memory + (t * elements + e) * tile_floats;
                m[e] = v[e] + tiles * depth;
            }
            for (size_t n = s.batch * t / team; n < s.batch * (t + 1) / team; ++n) {
                const float* from = x + n * s.in_height * s.in_width * in;
                float* to = y + n * s.out_height * s.out_width * out;
                const auto each_tile = [&](auto body) {
                    for (size_t i = 0; i < tiles; ++i) {
                        const size_t r = i / row, q = i % row;
                        body(i, r * 4 + (r < taller ? r : taller),
                             q * 4 + (q < broader ? q : broader), r < taller, q < broader);
                    }
                };
                each_tile([&](size_t i, size_t h, size_t w, bool is_tall, bool is_broad) {
                    const auto body = is_tall ? (is_broad ? to_points<5, 5> : to_points<5, 4>)
                                              : (is_broad ? to_points<4, 5> : to_points<4, 4>);
                    for (size_t c = 0; c < in; c += kLanes) body(s, from, h, w, c, v, i * depth);
                });
                for (size_t e = 0; e < elements; ++e) {
                    const size_t high = e / kSide == 6 ? taller : rows;
                    const size_t broad = e % kSide == 6 ? broader : row;
                    for (size_t p = 0; p < wide; p += kColumns) {
                        for (size_t r = 0; r < high; ++r) {
                            multiply(broad, in, v[e] + r * row * depth, depth,
                                     u + e * weights + p * in, m[e] + r * row * wide + p, wide);
                        }
                    }
                }
                each_tile([&](size_t i, size_t h, size_t w, bool is_tall, bool is_broad) {
                    const auto body = is_tall ? (is_broad ? to_values<5, 5> : to_values<5, 4>)
                                              : (is_broad ? to_values<4, 5> : to_values<4, 4>);
                    for (size_t o = 0; o < out; o += kLanes) body(s, m, i * wide, to, h, w, o);
                });
            }
        }
    }
}
