// Each window finds its maximum again, and adds its gradient there.
//
// Change: the first rung: dx is set to 0, then every output gives its dy to the first maximum of its
//   window.
// Why: the others are checked and measured against something that can be read in a minute.
// Predicted: nothing to compare with. A search of nine loads in nine cache lines an output, and an
//   addition at an address that is known only afterwards.
// Gained: nothing to compare with.

#include "study.h"

RUNG(const MaxPool2d& s, const float* dy, const float* x, const float*, float* dx) {
    const size_t image = s.in_height * s.in_width * s.channels;
    for (size_t i = 0; i < s.batch * image; ++i) dx[i] = 0;
    for (size_t n = 0; n < s.batch; ++n) {
        for (size_t oh = 0; oh < s.out_height; ++oh) {
            for (size_t ow = 0; ow < s.out_width; ++ow) {
                for (size_t c = 0; c < s.channels; ++c) {
                    const size_t first =
                        n * image + (oh * s.in_width + ow) * s.stride * s.channels + c;
                    size_t best = first;
                    for (size_t h = 0; h < s.window; ++h) {
                        for (size_t w = 0; w < s.window; ++w) {
                            const size_t at = first + (h * s.in_width + w) * s.channels;
                            if (!(x[at] <= x[best]) && x[best] == x[best]) best = at;
                        }
                    }
                    dx[best] += *dy++;
                }
            }
        }
    }
}
