// Each output gives its gradient to the window that it came from.
//
// Change: the first rung: forward's loops, with dx and dy in the places of x and y. Every product is
//   added to an element of dx, wherever that is.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. The sum over the output channels is one chain of additions, 4
//   cycles each: 1.5 GFLOP/s at 3 GHz.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx) {
    for (size_t i = 0; i < s.batch * s.in_height * s.in_width * s.in_channels; ++i) dx[i] = 0;
    for (size_t n = 0; n < s.batch; ++n) {
        for (size_t oh = 0; oh < s.out_height; ++oh) {
            for (size_t ow = 0; ow < s.out_width; ++ow, dy += s.out_channels) {
                for (size_t kh = 0; kh < s.kernel_height; ++kh) {
                    const size_t h = oh * s.stride + kh - s.pad_top;  // wraps around if outside
                    for (size_t kw = 0; kw < s.kernel_width; ++kw) {
                        const size_t w = ow * s.stride + kw - s.pad_left;
                        if (h >= s.in_height || w >= s.in_width) continue;
                        const size_t tap = kh * s.kernel_width + kw;
                        for (size_t c = 0; c < s.in_channels; ++c) {
                            const float* row = weight + (tap * s.in_channels + c) * s.out_channels;
                            float sum = 0;
                            for (size_t o = 0; o < s.out_channels; ++o) sum += dy[o] * row[o];
                            dx[((n * s.in_height + h) * s.in_width + w) * s.in_channels + c] += sum;
                        }
                    }
                }
            }
        }
    }
}
