// One window of one channel after the other.
//
// Change: the first rung, the definition as it is written.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. Nine loads, each in a cache line of its own, and nine
//   comparisons for one output; the compiler can't use vectors, as neighbouring iterations of the
//   inner loops are neighbouring pixels, `channels` floats apart.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const MaxPool2d& s, const float* x, float* y) {
    for (size_t n = 0; n < s.batch; ++n) {
        const float* image = x + n * s.in_height * s.in_width * s.channels;
        for (size_t oh = 0; oh < s.out_height; ++oh) {
            for (size_t ow = 0; ow < s.out_width; ++ow) {
                for (size_t c = 0; c < s.channels; ++c) {
                    float best = -__builtin_inff();
                    for (size_t h = oh * s.stride; h < oh * s.stride + s.window; ++h) {
                        for (size_t w = ow * s.stride; w < ow * s.stride + s.window; ++w) {
                            const float value = image[(h * s.in_width + w) * s.channels + c];
                            // A NaN is greater than every number, and stays.
                            if (!(value <= best) && best == best) best = value;
                        }
                    }
                    *y++ = best;
                }
            }
        }
    }
}
