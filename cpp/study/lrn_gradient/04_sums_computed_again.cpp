// s is not kept: it is computed from x again.
//
// Serves: beta 0.75.
// Change: the forward pass keeps nothing. The squares pass through a row as the cross terms do, and
//   their windows are summed again.
// Why: x has to be read anyway. Reading s costs 4 bytes an element, 0.1 to 0.2 ns of what memory
//   gives, and writing it cost the forward pass 4 to 8 more; summing 9 loads in vectors is 0.1 ns.
// Predicted: 1 times by itself: as much arithmetic comes as traffic goes. The forward pass gains.
// Gained: 1.1 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

RUNG(const Lrn& s, const float* dy, const float* x, const float*, float* dx) {
    if (s.beta != 0.75f) return;
    const size_t margin = (s.radius + kLanes - 1) / kLanes * kLanes;
    const size_t width = (s.channels + kLanes - 1) / kLanes * kLanes;
    const size_t stride = width + 2 * margin;
    float* rows = scratch(3 * stride);
    for (size_t i = 0; i < 3 * stride; ++i) rows[i] = 0;
    float *squares = rows + margin, *cross = squares + stride, *direct = cross + stride;
    const Vec alpha = broadcast(static_cast<float>(s.alpha * kPowerUnit));
    const Vec bias = broadcast(static_cast<float>(s.bias * kPowerUnit));
    // The sums are in three_quarter_power's unit, so x / s is too small by it.
    const Vec factor = broadcast(static_cast<float>(2 * kPowerUnit * s.alpha * s.beta));
    for (size_t pixel = 0; pixel < s.pixels; ++pixel) {
        const size_t at = pixel * s.channels;
        for (size_t c = 0; c < s.channels; c += kLanes) {
            const Vec v = load_upto(x + at + c, s.channels - c);
            store(squares + c, mul(v, v));
        }
        for (size_t c = 0; c < s.channels; c += kLanes) {
            const size_t n = s.channels - c;
            Vec sum = load(squares + c);
            for (size_t j = 1; j <= s.radius; ++j) {
                sum = add(sum, add(load(squares + c - j), load(squares + c + j)));
            }
            sum = fma(alpha, sum, bias);
            const Vec term = mul(load_upto(dy + at + c, n), three_quarter_power(sum));
            store(direct + c, term);
            store(cross + c, mul(term, div(load_upto(x + at + c, n), sum)));
        }
        for (size_t c = 0; c < s.channels; c += kLanes) {
            const size_t n = s.channels - c;
            Vec crossing = load(cross + c);
            for (size_t j = 1; j <= s.radius; ++j) {
                crossing = add(crossing, add(load(cross + c - j), load(cross + c + j)));
            }
            const Vec v = load_upto(x + at + c, n);
            store_upto(dx + at + c, fnma(v, mul(factor, crossing), load(direct + c)), n);
        }
    }
}
