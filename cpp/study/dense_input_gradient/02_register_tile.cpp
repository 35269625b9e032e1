// Four rows of weights by six images: dot products side by side.
//
// Change: 24 dot products (8 with AVX2) are summed in registers at once; both operands are read where
//   they lie, along the depth. Four rows serve all images before the next four.
// Why: one load of weights serves six images, one of dy four rows, and 24 chains hide the latency. The
//   weights pass through memory once a batch.
// Predicted: 4 times for 8 images: the weights are read once, and not eight times.
// Gained: 4.2 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

constexpr size_t kImages = kLanes == 16 ? 6 : 2;

// dx of `images` images and four rows of weights.
template <size_t images>
static void tile(const Dense& s, const float* dy, const float* weight, size_t rows, float* dx) {
    Vec sum[4][images];
    for (auto& row : sum) {
        for (Vec& v : row) v = zero();
    }
    for (size_t o = 0; o < s.out_features; o += kLanes) {
        const size_t n = s.out_features - o;
        Vec gradient[images];
        for (size_t b = 0; b < images; ++b) gradient[b] = load_upto(dy + b * s.out_features + o, n);
#pragma GCC unroll 4
        for (size_t r = 0; r < 4; ++r) {
            const size_t row = r < rows ? r : 0;
            const Vec w = load_upto(weight + row * s.out_features + o, n);
#pragma GCC unroll 8
            for (size_t b = 0; b < images; ++b) sum[r][b] = fma(w, gradient[b], sum[r][b]);
        }
    }
    for (size_t b = 0; b < images; ++b) {
        float sums[4];
        reduce_add4(sum[0][b], sum[1][b], sum[2][b], sum[3][b], sums);
        for (size_t r = 0; r < rows; ++r) dx[b * s.in_features + r] = sums[r];
    }
}

RUNG(const Dense& s, const float* dy, const float* weight, float* dx) {
    for (size_t i = 0; i < s.in_features; i += 4) {
        const size_t rows = s.in_features - i < 4 ? s.in_features - i : 4;
        const float* w = weight + i * s.out_features;
        size_t b = 0;
        for (; b + kImages <= s.batch; b += kImages) {
            tile<kImages>(s, dy + b * s.out_features, w, rows, dx + b * s.in_features + i);
        }
        for (; b < s.batch; ++b) {
            tile<1>(s, dy + b * s.out_features, w, rows, dx + b * s.in_features + i);
        }
    }
}
