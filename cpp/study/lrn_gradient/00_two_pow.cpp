// The formula: two powers a channel, and two sums over windows.
//
// Change: the first rung. dx = dy * s^-beta - 2 * alpha * beta * x * (sum over the window of
//   dy * x * s^(-beta - 1)), with s summed from x as in the forward pass.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. Two calls of powf, 15 ns each, and two windows of 9.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Lrn& s, const float* dy, const float* x, const float*, float* dx) {
    float* cross = scratch(s.channels);
    const float factor = 2 * s.alpha * s.beta;
    for (size_t pixel = 0; pixel < s.pixels; ++pixel) {
        const size_t at = pixel * s.channels;
        for (size_t c = 0; c < s.channels; ++c) {
            float squares = 0;
            const size_t first = c < s.radius ? 0 : c - s.radius;
            for (size_t i = first; i <= c + s.radius && i < s.channels; ++i) {
                squares += x[at + i] * x[at + i];
            }
            const float sum = s.bias + s.alpha * squares;
            cross[c] = dy[at + c] * x[at + c] * __builtin_powf(sum, -s.beta - 1);
            dx[at + c] = dy[at + c] * __builtin_powf(sum, -s.beta);
        }
        for (size_t c = 0; c < s.channels; ++c) {
            float crossing = 0;
            const size_t first = c < s.radius ? 0 : c - s.radius;
            for (size_t i = first; i <= c + s.radius && i < s.channels; ++i) crossing += cross[i];
            dx[at + c] -= factor * x[at + c] * crossing;
        }
    }
}
