// Each image is normalised and then pooled, before the next one begins.
//
// Serves: beta 0.75, radius 2, 4 or 5.
// Change: the loop over images is outside, around both operators; a thread has images, and memory for
//   the normalised one.
// Why: the array between the two is never needed as a whole. That of one image, 0.8 MB in lrn1, stays in
//   L2 from the pass that writes it to the pass that reads it.
// Predicted: 2 times where memory is the bound: 1.25 of 4.25 elements remain, and arithmetic shows.
//   One image has one task, so a single image has one thread.
// Gained: 1.4 times (two threads of a Xeon, Sapphire Rapids).

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
    const size_t row = pool.in_width * pool.channels, image = pool.in_height * row;
    const size_t out_row = pool.out_width * pool.channels;
    const size_t memory = ring_size(pool.channels) + image;
    const auto team = static_cast<size_t>(threads());
    float* memories = scratch(team * memory);
#pragma omp parallel for num_threads(threads())
    for (size_t t = 0; t < team; ++t) {
        float* ring = memories + t * memory;
        float* normalised = ring + ring_size(pool.channels);
        for (size_t n = pool.batch * t / team; n < pool.batch * (t + 1) / team; ++n) {
            const size_t pixels = pool.in_height * pool.in_width;
            normalise<kRadius>(s.lrn, pixels, x + n * image, normalised, ring);
            for (size_t oh = 0; oh < pool.out_height; ++oh) {
                pool_row(pool, normalised + oh * pool.stride * row,
                         y + (n * pool.out_height + oh) * out_row);
            }
        }
    }
}

RUNG(const LrnMaxPool2d& s, const float* x, float* y) {
    const size_t radius = s.lrn.radius;
    if (s.lrn.beta != 0.75f || (radius != 2 && radius != 4 && radius != 5)) return;
    const auto body = radius == 2 ? forward<2> : radius == 4 ? forward<4> : forward<5>;
    body(s, x, y);
}
