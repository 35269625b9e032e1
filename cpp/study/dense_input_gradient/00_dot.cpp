// One gradient after the other: a dot product of dy with a row of weights.
//
// Change: the first rung, the formula as it is written: dx[b,i] = sum over o of dy[b,o] * weight[i,o].
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. Both operands are contiguous, but the sum is one chain of
//   additions, 4 cycles each, which the compiler may not cut: 1.5 GFLOP/s.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Dense& s, const float* dy, const float* weight, float* dx) {
    for (size_t b = 0; b < s.batch; ++b) {
        for (size_t i = 0; i < s.in_features; ++i) {
            float sum = 0;
            for (size_t o = 0; o < s.out_features; ++o) {
                sum += dy[b * s.out_features + o] * weight[i * s.out_features + o];
            }
            dx[b * s.in_features + i] = sum;
        }
    }
}
