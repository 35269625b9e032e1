// Rows of weights, scaled and added: the weights are read as they lie.
//
// Change: the loops change places. Each x takes its row of weights into the whole of y.
// Why: neighbouring products use neighbouring weights: whole lines, in order, in vectors that the
//   compiler makes by itself. y stays in L1, 16 KB.
// Predicted: 15 times: a sixteenth of the cache lines, though each vector of products also loads and
//   stores its part of y.
// Gained: 42 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

RUNG(const Dense& s, const float* x, const float* weight, float* y) {
    for (size_t b = 0; b < s.batch; ++b, y += s.out_features) {
        for (size_t o = 0; o < s.out_features; ++o) y[o] = 0;
        for (size_t i = 0; i < s.in_features; ++i) {
            const float value = x[b * s.in_features + i];
            const float* row = weight + i * s.out_features;
            for (size_t o = 0; o < s.out_features; ++o) y[o] += value * row[o];
        }
    }
}
