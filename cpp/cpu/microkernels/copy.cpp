// Short runs of floats: copies and sums of rows.
//
// Packing copies millions of runs of a few dozen floats (a pixel's channels), where a call into
// memcpy for each would cost more than the copy.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

void copy(size_t n, const float* x, float* y) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i));
    if (i < n) store_tail(y + i, load_tail(x + i, n - i), n - i);
}

// Row after row: columns floats from x + r*x_row to y + r*y_row.
void copy_rows(size_t rows, size_t columns, const float* x, size_t x_row, float* y, size_t y_row) {
    const size_t whole = columns / kLanes, rest = columns % kLanes;
    for (size_t r = 0; r < rows; ++r, x += x_row, y += y_row) {
        for (size_t v = 0; v < whole; ++v) store(y + v * kLanes, load(x + v * kLanes));
        if (rest) store_tail(y + whole * kLanes, load_tail(x + whole * kLanes, rest), rest);
    }
}

// The same, transposed: y[c*y_row + r] = x[r*x_row + c]. Works on blocks of kLanes rows and
// columns, one vector a row, in log2(kLanes) rounds of a perfect shuffle. A round interleaves
// vector i with vector i + kLanes / 2, for all i < kLanes / 2, into vectors 2i and 2i + 1. Four
// lanes, two rounds:
//
//   a0 a1 a2 a3         a0 c0 a1 c1         a0 b0 c0 d0
//   b0 b1 b2 b3   -->   a2 c2 a3 c3   -->   a1 b1 c1 d1
//   c0 c1 c2 c3         b0 d0 b1 d1         a2 b2 c2 d2
//   d0 d1 d2 d3         b2 d2 b3 d3         a3 b3 c3 d3
//
// Seen as one number, row bits before lane bits, each round turns an element's place by one bit to
// the left; after log2(kLanes) rounds the row bits and the lane bits have changed places.
void transpose(size_t rows, size_t columns, const float* x, size_t x_row, float* y, size_t y_row) {
    for (size_t c = 0; c < columns; c += kLanes) {
        const size_t width = columns - c < kLanes ? columns - c : kLanes;
        for (size_t r = 0; r < rows; r += kLanes) {
            const size_t height = rows - r < kLanes ? rows - r : kLanes;
            const float* source = x + r * x_row + c;
            Vec v[kLanes];
#pragma GCC unroll 16
            for (size_t i = 0; i < kLanes; ++i) {
                v[i] = i < height ? load_upto(source + i * x_row, width) : zero();
                __builtin_prefetch(source + (i + kLanes) * x_row);
            }
#pragma GCC unroll 4
            for (size_t step = 1; step < kLanes; step *= 2) {
                Vec zipped[kLanes];
#pragma GCC unroll 8
                for (size_t i = 0; i < kLanes / 2; ++i) {
                    zipped[2 * i] = zip_low(v[i], v[i + kLanes / 2]);
                    zipped[2 * i + 1] = zip_high(v[i], v[i + kLanes / 2]);
                }
#pragma GCC unroll 16
                for (size_t i = 0; i < kLanes; ++i) v[i] = zipped[i];
            }
            float* target = y + c * y_row + r;
#pragma GCC unroll 16
            for (size_t i = 0; i < kLanes; ++i) {
                if (i < width) store_upto(target + i * y_row, v[i], height);
            }
        }
    }
}

void stream_fence() { fence(); }

// y[j] = x[0][j] + x[1][j] + ..., in the order of the rows, in double: what cancels in the sum
// takes no digits with it. y has room for whole vectors.
void sum_rows(size_t rows, size_t columns, const float* x, size_t x_row, double* y) {
    for (size_t j = 0; j < columns; j += kLanes) {
        const size_t n = columns - j;
        Wide sum = broadcast_wide(0.0);
        for (size_t r = 0; r < rows; ++r) {
            const float* p = x + r * x_row + j;
            sum = add(sum, widen(load_upto(p, n)));
        }
        store_wide(y + j, sum);
    }
}

}  // namespace alexnet::ALEXNET_ISA
