// Each channel for itself: its window summed, and a call of pow.
//
// Change: the first rung, the formula as it is written.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. A call of powf takes about 15 ns, the window of 9 squares
//   about 4 ns; memory moves 8 bytes an element, 0.4 ns at 20 GB/s. Bound by arithmetic.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Lrn& s, const float* x, float* y) {
    for (size_t pixel = 0; pixel < s.pixels; ++pixel) {
        const float* row = x + pixel * s.channels;
        for (size_t c = 0; c < s.channels; ++c) {
            const size_t first = c < s.radius ? 0 : c - s.radius;
            const size_t last = c + s.radius < s.channels ? c + s.radius : s.channels - 1;
            float squares = 0;
            for (size_t i = first; i <= last; ++i) squares += row[i] * row[i];
            const float sum = s.bias + s.alpha * squares;
            y[pixel * s.channels + c] = row[c] * __builtin_powf(sum, -s.beta);
        }
    }
}
