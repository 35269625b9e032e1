// On all threads: each has a range of the outputs.
//
// Change: the outputs, 64 at a time, are dealt out in contiguous ranges; each thread goes down its
//   columns 32 rows of weights at a time, with all images.
// Why: an output has one owner, and its sum one order. Few rows at a time leave whole pages of a row
//   to be read in order: 32 rows of 2048 floats are 262 KB, which stay in L2 while all images use them.
// Predicted: 1.8 times on two cores: two cores draw more from memory than one.
// Gained: 2 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

constexpr size_t kDepth = 32;
constexpr size_t kRows = 6;
constexpr size_t kVectors = kLanes == 16 ? 4 : 2;  // 24 sums of 32 registers, or 12 of 16
constexpr size_t kColumns = kVectors * kLanes;

// y of `rows` images by the `columns` outputs from `weight` on; adds to what y holds.
template <size_t rows>
static void tile(const Dense& s, size_t depth, const float* x, const float* weight, float* y,
                 size_t columns) {
    Vec sum[rows][kVectors];
    for (size_t b = 0; b < rows; ++b) {
        for (size_t v = 0; v < kVectors; ++v) {
            const size_t o = v * kLanes;
            sum[b][v] = o < columns ? load_upto(y + b * s.out_features + o, columns - o) : zero();
        }
    }
    for (size_t i = 0; i < depth; ++i, weight += s.out_features) {
        Vec w[kVectors];
        for (size_t v = 0; v < kVectors; ++v) {
            const size_t o = v * kLanes;
            w[v] = o < columns ? load_upto(weight + o, columns - o) : zero();
        }
#pragma GCC unroll 8
        for (size_t b = 0; b < rows; ++b) {
            const Vec value = broadcast(x[b * s.in_features + i]);
#pragma GCC unroll 8
            for (size_t v = 0; v < kVectors; ++v) sum[b][v] = fma(value, w[v], sum[b][v]);
        }
    }
    for (size_t b = 0; b < rows; ++b) {
        for (size_t v = 0; v * kLanes < columns; ++v) {
            store_upto(y + b * s.out_features + v * kLanes, sum[b][v], columns - v * kLanes);
        }
    }
}

// The whole batch, for `depth` weights' rows from i on and the outputs from o on.
static void block(const Dense& s, size_t i, size_t depth, const float* x, const float* weight,
                  float* y, size_t o) {
    const size_t columns = s.out_features - o < kColumns ? s.out_features - o : kColumns;
    const float* w = weight + i * s.out_features + o;
    size_t b = 0;
    for (; b + kRows <= s.batch; b += kRows) {
        tile<kRows>(s, depth, x + b * s.in_features + i, w, y + b * s.out_features + o, columns);
    }
    for (; b < s.batch; ++b) {
        tile<1>(s, depth, x + b * s.in_features + i, w, y + b * s.out_features + o, columns);
    }
}

RUNG(const Dense& s, const float* x, const float* weight, float* y) {
    const size_t panels = (s.out_features + kColumns - 1) / kColumns;
    const auto team = static_cast<size_t>(threads());
#pragma omp parallel for num_threads(threads())
    for (size_t t = 0; t < team; ++t) {
        const size_t first = panels * t / team, end = panels * (t + 1) / team;
        for (size_t b = 0; b < s.batch; ++b) {
            for (size_t o = first * kColumns; o < end * kColumns && o < s.out_features; ++o) {
                y[b * s.out_features + o] = 0;
            }
        }
        for (size_t i = 0; i < s.in_features; i += kDepth) {
            const size_t depth = s.in_features - i < kDepth ? s.in_features - i : kDepth;
            for (size_t p = first; p < end; ++p) block(s, i, depth, x, weight, y, p * kColumns);
        }
    }
}
