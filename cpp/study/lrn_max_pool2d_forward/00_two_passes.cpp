// Two operators, one after the other: the whole batch is normalised, then pooled.
//
// Serves: beta 0.75, radius 2, 4 or 5.
// Change: nothing yet. Both parts are as lrn-forward and max-pool2d-forward left them with their threads.
// Why: this is what a network does that knows only operators.
// Predicted: slow: x is read, the normalised array written and read again, y written: of 4 bytes each,
//   1 + 1 + 1 + 1/4 elements for each of x, and one more for the lines that are read to be written.
// Gained: -

#include "study.h"

constexpr size_t kMargin = kLanes < 8 ? 8 : kLanes;  // whole vectors, for a radius of up to 5

// Floats of the squares of four pixels, with zeros around them.
static size_t ring_size(size_t channels) {
    return 4 * ((channels + kLanes - 1) / kLanes * kLanes + 2 * kMargin);
}

// y of `pixels` pixels. A pixel's squares are read three pixels after they were stored, as a load
// that begins inside of a stored vector waits until that is in the cache.
template <size_t kRadius>
static void normalise(const Lrn& s, size_t pixels, const float* x, float* y, float* ring) {
    const size_t stride = ring_size(s.channels) / 4;
    for (size_t i = 0; i < 4 * stride; ++i) ring[i] = 0;
    const Vec alpha = broadcast(static_cast<float>(s.alpha * kPowerUnit));
    const Vec bias = broadcast(static_cast<float>(s.bias * kPowerUnit));
    for (size_t step = 0; step < pixels + 3; ++step) {
        for (size_t c = 0; step < pixels && c < s.channels; c += kLanes) {
            const Vec v = load_upto(x + step * s.channels + c, s.channels - c);
            store(ring + step % 4 * stride + kMargin + c, mul(v, v));
        }
        if (step < 3) continue;
        const size_t at = (step - 3) * s.channels;
        const float* squares = ring + (step - 3) % 4 * stride + kMargin;
        for (size_t c = 0; c < s.channels; c += kLanes) {
            Vec sum = load(squares + c);
#pragma GCC unroll 8
            for (size_t j = 1; j <= kRadius; ++j) {
                sum = add(sum, add(load(squares + c - j), load(squares + c + j)));
            }
            const Vec power = three_quarter_power(fma(alpha, sum, bias));
            const size_t n = s.channels - c;
            store_upto(y + at + c, mul(load_upto(x + at + c, n), power), n);
        }
    }
}

// A row of windows, of which `x` is the first row of the image.
static void pool_row(const MaxPool2d& s, const float* x, float* y) {
    for (size_t ow = 0; ow < s.out_width; ++ow, y += s.channels) {
        for (size_t c = 0; c < s.channels; c += kLanes) {
            const float* first = x + ow * s.stride * s.channels + c;
            Vec best = broadcast(-__builtin_inff());
            for (size_t h = 0; h < s.window; ++h) {
                for (size_t w = 0; w < s.window; ++w) {
                    const float* pixel = first + (h * s.in_width + w) * s.channels;
                    best = max_nan(best, load_upto(pixel, s.channels - c));
                }
            }
            store_upto(y + c, best, s.channels - c);
        }
    }
}

template <size_t kRadius>
static void forward(const LrnMaxPool2d& s, const float* x, float* y) {
    const MaxPool2d& pool = s.pool;
    const auto team = static_cast<size_t>(threads());
    const size_t ring = ring_size(pool.channels), row = pool.in_width * pool.channels;
    const size_t out_row = pool.out_width * pool.channels;
    float* rings = scratch(team * ring + s.lrn.pixels * s.lrn.channels);
    float* normalised = rings + team * ring;
#pragma omp parallel for num_threads(threads())
    for (size_t t = 0; t < team; ++t) {
        const size_t first = s.lrn.pixels * t / team, end = s.lrn.pixels * (t + 1) / team;
        const size_t at = first * s.lrn.channels;
        normalise<kRadius>(s.lrn, end - first, x + at, normalised + at, rings + t * ring);
    }
#pragma omp parallel for num_threads(threads())
    for (size_t i = 0; i < pool.batch * pool.out_height; ++i) {
        const size_t n = i / pool.out_height, oh = i % pool.out_height;
        pool_row(pool, normalised + (n * pool.in_height + oh * pool.stride) * row, y + i * out_row);
    }
}

RUNG(const LrnMaxPool2d& s, const float* x, float* y) {
    const size_t radius = s.lrn.radius;
    if (s.lrn.beta != 0.75f || (radius != 2 && radius != 4 && radius != 5)) return;
    const auto body = radius == 2 ? forward<2> : radius == 4 ? forward<4> : forward<5>;
    body(s, x, y);
}
