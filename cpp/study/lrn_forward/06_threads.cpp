// On all threads.
//
// Serves: beta 0.75, radius 2, 4 or 5.
// Change: each thread has a range of the pixels, and a ring of its own. Pixels do not depend on each
//   other, so the result is the same bits for every number of threads.
// Why: it could have been the first rung. Here it shows what is left of two cores' worth once a core
//   is fast: both share the memory.
// Predicted: 1.6 times on two cores: arithmetic halves, but 12 bytes an element (a line that is
//   written is read first) take 0.25 ns at 50 GB/s, near what one core takes altogether.
// Gained: 1.7 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

constexpr size_t kInFlight = 256;                    // floats
constexpr size_t kMargin = kLanes < 8 ? 8 : kLanes;  // whole vectors, for a radius of up to 5

static size_t row_stride(size_t channels) {
    return (channels + kLanes - 1) / kLanes * kLanes + 2 * kMargin;
}
static size_t rows_behind(size_t channels) { return (kInFlight + channels - 1) / channels; }

// Pixels from `first` to `end`.
template <size_t kRadius>
static void forward(const Lrn& s, size_t first, size_t end, const float* x, float* y, float* ring) {
    const size_t stride = row_stride(s.channels), lag = rows_behind(s.channels), rows = lag + 1;
    for (size_t i = 0; i < rows * stride; ++i) ring[i] = 0;
    const Vec alpha = broadcast(static_cast<float>(s.alpha * kPowerUnit));
    const Vec bias = broadcast(static_cast<float>(s.bias * kPowerUnit));
    for (size_t step = first; step < end + lag; ++step) {
        if (step < end) {
            const float* in = x + step * s.channels;
            float* squares = ring + step % rows * stride + kMargin;
            for (size_t c = 0; c < s.channels; c += kLanes) {
                const Vec v = load_upto(in + c, s.channels - c);
                store(squares + c, mul(v, v));
            }
        }
        if (step < first + lag) continue;
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
    const auto body = s.radius == 2 ? forward<2> : s.radius == 4 ? forward<4> : forward<5>;
    const size_t ring = (rows_behind(s.channels) + 1) * row_stride(s.channels);
    const auto team = static_cast<size_t>(threads());
    float* rings = scratch(team * ring);
#pragma omp parallel for num_threads(threads())
    for (size_t t = 0; t < team; ++t) {
        const size_t first = s.pixels * t / team, end = s.pixels * (t + 1) / team;
        body(s, first, end, x, y, rings + t * ring);
    }
}
