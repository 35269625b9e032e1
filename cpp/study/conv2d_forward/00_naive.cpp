// Seven loops, in the order of the formula.
//
// Change: the first rung: each output is summed by itself, over the window's rows, its columns, and
//   the input channels.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. One sum is one chain of additions, 4 cycles each: 2 FLOP in 4
//   cycles are 1.5 GFLOP/s at 3 GHz, less what weights cost that lie `out_channels` floats apart,
//   each in a cache line of its own. The peak of the core is 64 FLOP a cycle.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const Conv2d& s, const float* x, const float* weight, float* y) {
    for (size_t n = 0; n < s.batch; ++n) {
        for (size_t oh = 0; oh < s.out_height; ++oh) {
            for (size_t ow = 0; ow < s.out_width; ++ow) {
                for (size_t o = 0; o < s.out_channels; ++o) {
                    float sum = 0;
                    for (size_t kh = 0; kh < s.kernel_height; ++kh) {
                        const size_t h = oh * s.stride + kh - s.pad_top;  // wraps around if outside
                        for (size_t kw = 0; kw < s.kernel_width; ++kw) {
                            const size_t w = ow * s.stride + kw - s.pad_left;
                            if (h >= s.in_height || w >= s.in_width) continue;
                            const size_t in = ((n * s.in_height + h) * s.in_width + w);
                            const size_t tap = kh * s.kernel_width + kw;
                            for (size_t c = 0; c < s.in_channels; ++c) {
                                sum += x[in * s.in_channels + c] *
                                       weight[(tap * s.in_channels + c) * s.out_channels + o];
                            }
                        }
                    }
                    *y++ = sum;
                }
            }
        }
    }
}
