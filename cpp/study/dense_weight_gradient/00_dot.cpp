// One weight after the other: a dot product over the batch.
//
// Change: the first rung, the formula as it is written: dweight[i,o] = sum over b of x[b,i] * dy[b,o].
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. The batch is short, and its elements are a row apart in both
//   operands.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Dense& s, const float* dy, const float* x, float* dweight) {
    for (size_t i = 0; i < s.in_features; ++i) {
        for (size_t o = 0; o < s.out_features; ++o) {
            float sum = 0;
            for (size_t b = 0; b < s.batch; ++b) {
                sum += x[b * s.in_features + i] * dy[b * s.out_features + o];
            }
            dweight[i * s.out_features + o] = sum;
        }
    }
}
