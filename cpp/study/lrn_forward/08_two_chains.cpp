// Two chains side by side: the windows and powers of two vectors in one turn.
//
// Serves: beta 0.75, radius 2, 4 or 5.
// Change: the loop takes two vectors of channels a turn, first both windows, then both powers.
// Why: a window and its power are one chain, 5 additions, then an estimate, products and a square
//   root: some 80 cycles from load to store. The processor overlaps turns only as far as its
//   scheduler sees, about 100 to 200 instructions; two chains beside each other need less of it.
// Predicted: 1.1 times where arithmetic is the bound, nothing where memory is.
// Gained: 0.97 times (two threads of a Xeon, Sapphire Rapids).
//   A loop that took the power of one vector beside the window of the next ran at 0.6 times, for a reason
//   not found. In the product two chains gain 10 %, with windows that come from registers.

#include "study.h"

constexpr size_t kInFlight = 256;                    // floats
constexpr size_t kMargin = kLanes < 8 ? 8 : kLanes;  // whole vectors, for a radius of up to 5

static size_t row_stride(size_t channels) {
    return (channels + kLanes - 1) / kLanes * kLanes + 2 * kMargin;
}
static size_t rows_behind(size_t channels) { return (kInFlight + channels - 1) / channels; }

// Pairs first: additions that do not wait for each other.
template <size_t kRadius>
ALEXNET_INLINE Vec window(const float* middle) {
    Vec sum = load(middle);
#pragma GCC unroll 8
    for (size_t j = 1; j <= kRadius; ++j) {
        sum = add(sum, add(load(middle - j), load(middle + j)));
    }
    return sum;
}

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
        size_t c = 0;
        for (; c + 2 * kLanes <= s.channels; c += 2 * kLanes) {
            const Vec a = fma(alpha, window<kRadius>(squares + c), bias);
            const Vec b = fma(alpha, window<kRadius>(squares + c + kLanes), bias);
            const Vec power_a = three_quarter_power(a), power_b = three_quarter_power(b);
            stream_lines(out + c, mul(load(in + c), power_a));
            stream_lines(out + c + kLanes, mul(load(in + c + kLanes), power_b));
        }
        for (; c < s.channels; c += kLanes) {
            const size_t n = s.channels - c;
            const Vec power = three_quarter_power(fma(alpha, window<kRadius>(squares + c), bias));
            stream_lines_upto(out + c, mul(load_upto(in + c, n), power), n);
        }
    }
    fence();
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
