// Neighbouring windows share a column: its maximum stays in a register.
//
// Change: along a row of windows, the maximum over a column's rows is taken once. Windows of 3 at
//   stride 2 overlap in one column of three, whose maximum the next window begins with.
//   Windows that overlap in more or in no columns are computed whole.
// Why: 6 loads and 2 comparisons a column, instead of 9 and 9: the loads are from L1, but they and
//   the comparisons are what the time is made of until memory binds.
// Predicted: 1.3 times: 9 loads and comparisons become 6, 2 in each of two new columns and 2 to join
//   three; but there is one chain again, where there were four.
// Gained: 0.9 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

ALEXNET_INLINE Vec column(const MaxPool2d& s, const float* x, size_t lanes) {
    Vec best = load_upto(x, lanes);
    for (size_t h = 1; h < s.window; ++h) {
        best = max_nan(best, load_upto(x + h * s.in_width * s.channels, lanes));
    }
    return best;
}

RUNG(const MaxPool2d& s, const float* x, float* y) {
    const size_t shared = s.window > s.stride ? s.window - s.stride : 0;
    for (size_t n = 0; n < s.batch; ++n) {
        const float* image = x + n * s.in_height * s.in_width * s.channels;
        for (size_t oh = 0; oh < s.out_height; ++oh, y += s.out_width * s.channels) {
            const float* row = image + oh * s.stride * s.in_width * s.channels;
            for (size_t c = 0; c < s.channels; c += kLanes) {
                const size_t lanes = s.channels - c;
                Vec last = column(s, row + c, lanes);  // of the window before, and its first here
                for (size_t ow = 0; ow < s.out_width; ++ow) {
                    const float* first = row + ow * s.stride * s.channels + c;
                    Vec best = shared == 1 || ow == 0 ? last : column(s, first, lanes);
                    for (size_t w = 1; w < s.window; ++w) {
                        last = column(s, first + w * s.channels, lanes);
                        best = max_nan(best, last);
                    }
                    store_upto(y + ow * s.channels + c, best, lanes);
                }
            }
        }
    }
}
