// The same, on all threads.
//
// Change: pixels are dealt out to the threads in equal ranges.
// Why: a pixel needs no other, so this is the one gain that costs nothing but a line.
// Predicted: 2 times rung 0 on two cores: each does half of the pixels, and memory is far from busy.
// Gained: 2.0 times (two cores of a Xeon, Sapphire Rapids).

#include "study.h"

RUNG(const Lrn& s, const float* x, float* y) {
#pragma omp parallel for num_threads(threads())
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
