// The compiler knows the radius, and writes the window out.
//
// Serves: beta 0.75, radius 2, 4 or 5.
// Change: the radius is a template's parameter: one function for each radius that AlexNets have, 2,
//   4 and 5, which are all that this rung and those after it serve.
// Why: a loop of four turns costs a counter, a comparison, a branch and addresses in each turn, and
//   its end is mispredicted now and then. Written out, the window is 9 loads and 8 additions.
// Predicted: 1.4 times: about 12 of 40 instructions of a vector go.
// Gained: 1 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

template <size_t kRadius>
static void forward(const Lrn& s, const float* x, float* y) {
    constexpr size_t kInFlight = 256;  // floats
    constexpr size_t kMargin = kRadius <= kLanes ? kLanes : 2 * kLanes;
    const size_t width = (s.channels + kLanes - 1) / kLanes * kLanes;
    const size_t stride = width + 2 * kMargin;
    const size_t lag = (kInFlight + width - 1) / width, rows = lag + 1;
    float* ring = scratch(rows * stride);
    for (size_t i = 0; i < rows * stride; ++i) ring[i] = 0;
    const Vec alpha = broadcast(static_cast<float>(s.alpha * kPowerUnit));
    const Vec bias = broadcast(static_cast<float>(s.bias * kPowerUnit));
    for (size_t step = 0; step < s.pixels + lag; ++step) {
        if (step < s.pixels) {
            const float* in = x + step * s.channels;
            float* squares = ring + step % rows * stride + kMargin;
            for (size_t c = 0; c < s.channels; c += kLanes) {
                const Vec v = load_upto(in + c, s.channels - c);
                store(squares + c, mul(v, v));
            }
        }
        if (step < lag) continue;
        const size_t pixel = step - lag;
        const float* in = x + pixel * s.channels;
        float* out = y + pixel * s.channels;
        const float* squares = ring + pixel % rows * stride + kMargin;
        for (size_t c = 0; c < s.channels; c += kLanes) {
            Vec sum = load(squares + c);
#pragma GCC unroll 8
            for (size_t j = 1; j <= kRadius; ++j) {
                sum = add(sum, add(load(squares + c - j), load(squares + c + j)));
            }
            const Vec power = three_quarter_power(fma(alpha, sum, bias));
            const size_t n = s.channels - c;
            store_upto(out + c, mul(load_upto(in + c, n), power), n);
        }
    }
}

RUNG(const Lrn& s, const float* x, float* y) {
    if (s.beta != 0.75f || (s.radius != 2 && s.radius != 4 && s.radius != 5)) return;
    if (s.radius == 2) forward<2>(s, x, y);
    if (s.radius == 4) forward<4>(s, x, y);
    if (s.radius == 5) forward<5>(s, x, y);
}
