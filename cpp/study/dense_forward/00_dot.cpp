// One output after the other: a dot product of an image with a column of weights.
//
// Change: the first rung, the formula as it is written.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. A column of weights is out_features floats apart, 16 KB in
//   fc7: each product takes a cache line of its own, 16 times the bytes that it needs, and a page of
//   its own.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Dense& s, const float* x, const float* weight, float* y) {
    for (size_t b = 0; b < s.batch; ++b) {
        for (size_t o = 0; o < s.out_features; ++o) {
            float sum = 0;
            for (size_t i = 0; i < s.in_features; ++i) {
                sum += x[b * s.in_features + i] * weight[i * s.out_features + o];
            }
            y[b * s.out_features + o] = sum;
        }
    }
}
