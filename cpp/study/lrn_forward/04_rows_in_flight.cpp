// A row of squares is read only when its stores have reached the cache.
//
// Serves: beta 0.75.
// Change: the squares of several pixels are written before the windows of the first are read: rows
//   stand in a ring, and reading stays at least 256 floats behind writing.
// Why: a load that takes part of what two stores wrote cannot be served from the store buffer. It
//   waits until both have left it for the cache, about 15 cycles. With 64 channels a row is four
//   stores, and most loads of a window straddle two of them.
// Predicted: 1.5 times: each pixel waits about 15 of some 50 cycles.
// Gained: 1.8 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

RUNG(const Lrn& s, const float* x, float* y) {
    if (s.beta != 0.75f) return;
    constexpr size_t kInFlight = 256;  // floats
    const size_t margin = (s.radius + kLanes - 1) / kLanes * kLanes;
    const size_t width = (s.channels + kLanes - 1) / kLanes * kLanes;
    const size_t stride = width + 2 * margin;
    const size_t lag = (kInFlight + width - 1) / width, rows = lag + 1;
    float* ring = scratch(rows * stride);
    for (size_t i = 0; i < rows * stride; ++i) ring[i] = 0;
    const Vec alpha = broadcast(static_cast<float>(s.alpha * kPowerUnit));
    const Vec bias = broadcast(static_cast<float>(s.bias * kPowerUnit));
    for (size_t step = 0; step < s.pixels + lag; ++step) {
        if (step < s.pixels) {
            const float* in = x + step * s.channels;
            float* squares = ring + step % rows * stride + margin;
            for (size_t c = 0; c < s.channels; c += kLanes) {
                const Vec v = load_upto(in + c, s.channels - c);
                store(squares + c, mul(v, v));
            }
        }
        if (step < lag) continue;
        const size_t pixel = step - lag;
        const float* in = x + pixel * s.channels;
        float* out = y + pixel * s.channels;
        const float* squares = ring + pixel % rows * stride + margin;
        for (size_t c = 0; c < s.channels; c += kLanes) {
            Vec sum = load(squares + c);
            for (size_t j = 1; j <= s.radius; ++j) {
                sum = add(sum, add(load(squares + c - j), load(squares + c + j)));
            }
            const Vec power = three_quarter_power(fma(alpha, sum, bias));
            const size_t n = s.channels - c;
            store_upto(out + c, mul(load_upto(in + c, n), power), n);
        }
    }
}
