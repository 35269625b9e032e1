// One weight after the other: a sum over all pixels of all images.
//
// Change: the first rung, the formula as it is written.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. Each product takes an element of x and one of dy that are alone
//   of their cache line, and sums in one chain.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight) {
    const size_t pixels = s.out_height * s.out_width;
    for (size_t tap = 0; tap < s.kernel_height * s.kernel_width; ++tap) {
        for (size_t c = 0; c < s.in_channels; ++c) {
            for (size_t o = 0; o < s.out_channels; ++o) {
                float sum = 0;
                for (size_t i = 0; i < s.batch * pixels; ++i) {
                    const size_t n = i / pixels, oh = i % pixels / s.out_width;
                    const size_t h = oh * s.stride + tap / s.kernel_width - s.pad_top;
                    const size_t w = i % s.out_width * s.stride + tap % s.kernel_width - s.pad_left;
                    if (h >= s.in_height || w >= s.in_width) continue;  // wrapped around if outside
                    sum += x[((n * s.in_height + h) * s.in_width + w) * s.in_channels + c] *
                           dy[i * s.out_channels + o];
                }
                *dweight++ = sum;
            }
        }
    }
}
