// Each image's gradient goes through pooling, LRN and the ReLU before the next one begins.
//
// Serves: beta 0.75, radius 2, 4 or 5.
// Change: the loop over images is outside, around all of it; a thread has images.
// Why: the array between pooling and LRN is 0.8 MB for an image of lrn1, and stays in L2.
// Predicted: 1.3 times where memory is the bound: 12 of 32 bytes an element go, the arithmetic stays.
// Gained: 1.2 times (two threads of a Xeon, Sapphire Rapids).

#include "study.h"

constexpr size_t kMargin = kLanes < 8 ? 8 : kLanes;  // whole vectors, for a radius of up to 5

// Floats of three kinds of rows, four pixels of each, with zeros around them.
static size_t rings_size(size_t channels) {
    return 12 * ((channels + kLanes - 1) / kLanes * kLanes + 2 * kMargin);
}

template <size_t kRadius>
ALEXNET_INLINE Vec window(const float* middle) {
    Vec sum = load(middle);
#pragma GCC unroll 8
    for (size_t j = 1; j <= kRadius; ++j) sum = add(sum, add(load(middle - j), load(middle + j)));
    return sum;
}

// dx of `pixels` pixels of LRN and the ReLU before it: squares, cross terms and dx follow each other three pixels apart.
template <size_t kRadius>
static void lrn_gradient(const Lrn& s, size_t pixels, const float* dy, const float* x, float* dx,
                         float* rings) {
    const size_t stride = rings_size(s.channels) / 12;
    for (size_t i = 0; i < 12 * stride; ++i) rings[i] = 0;
    const auto row = [=](size_t kind, size_t pixel) {
        return rings + (kind * 4 + pixel % 4) * stride + kMargin;
    };
    const Vec alpha = broadcast(static_cast<float>(s.alpha * kPowerUnit));
    const Vec bias = broadcast(static_cast<float>(s.bias * kPowerUnit));
    const Vec factor = broadcast(static_cast<float>(2 * kPowerUnit * s.alpha * s.beta));
    for (size_t step = 0; step < pixels + 6; ++step) {
        for (size_t c = 0; c < s.channels; c += kLanes) {
            const size_t n = s.channels - c;
            if (step < pixels) {
                const Vec v = load_upto(x + step * s.channels + c, n);
                store(row(0, step) + c, mul(v, v));
            }
            if (step >= 3 && step < pixels + 3) {
                const size_t pixel = step - 3, at = pixel * s.channels + c;
                const Vec sum = fma(alpha, window<kRadius>(row(0, pixel) + c), bias);
                const Vec term = mul(load_upto(dy + at, n), three_quarter_power(sum));
                store(row(1, pixel) + c, term);
                store(row(2, pixel) + c, mul(term, div(load_upto(x + at, n), sum)));
            }
            if (step >= 6) {
                const size_t pixel = step - 6, at = pixel * s.channels + c;
                const Vec crossing = mul(factor, window<kRadius>(row(2, pixel) + c));
                const Vec v = load_upto(x + at, n), term = load(row(1, pixel) + c);
                store_upto(dx + at, select_positive(v, fnma(v, crossing, term)), n);
            }
        }
    }
}

// Row h of the gradient of pooling: each pixel asks the windows that it lies in.
static void pool_gradient(const MaxPool2d& s, size_t h, const float* dy, const float* taps,
                          float* dx) {
    const size_t first_h = h < s.window ? 0 : (h - s.window) / s.stride + 1;
    for (size_t w = 0; w < s.in_width; ++w, dx += s.channels) {
        const size_t first_w = w < s.window ? 0 : (w - s.window) / s.stride + 1;
        for (size_t c = 0; c < s.channels; c += kLanes) {
            Vec sum = zero();
            for (size_t oh = first_h; oh < s.out_height && oh * s.stride <= h; ++oh) {
                for (size_t ow = first_w; ow < s.out_width && ow * s.stride <= w; ++ow) {
                    const size_t own = (h - oh * s.stride) * s.window + w - ow * s.stride;
                    const size_t at = (oh * s.out_width + ow) * s.channels + c;
                    const Mask here = same_bits(load_upto(taps + at, s.channels - c),
                                                broadcast(static_cast<float>(own)));
                    sum = add(sum, select(here, load_upto(dy + at, s.channels - c), zero()));
                }
            }
            store_upto(dx + c, sum, s.channels - c);
        }
    }
}

template <size_t kRadius>
static void backward(const LrnMaxPool2d& s, const float* dy, const float* x, const float* taps,
                     float* dx) {
    const size_t row = s.pool.in_width * s.pool.channels, image = s.pool.in_height * row;
    const size_t outputs = s.pool.out_height * s.pool.out_width * s.pool.channels;
    const size_t rings = rings_size(s.pool.channels), pixels = s.pool.in_height * s.pool.in_width;
    const auto team = static_cast<size_t>(threads());
    float* memory = scratch(team * (rings + image));
#pragma omp parallel for num_threads(threads())
    for (size_t t = 0; t < team; ++t) {
        float* between = memory + t * (rings + image) + rings;
        for (size_t n = s.pool.batch * t / team; n < s.pool.batch * (t + 1) / team; ++n) {
            for (size_t h = 0; h < s.pool.in_height; ++h) {
                pool_gradient(s.pool, h, dy + n * outputs, taps + n * outputs, between + h * row);
            }
            lrn_gradient<kRadius>(s.lrn, pixels, between, x + n * image, dx + n * image,
                                  between - rings);
        }
    }
}

RUNG(const LrnMaxPool2d& s, const float* dy, const float* x, const float* taps, float* dx) {
    const size_t radius = s.lrn.radius;
    if (s.lrn.beta != 0.75f || (radius != 2 && radius != 4 && radius != 5)) return;
    const auto body = radius == 2 ? backward<2> : radius == 4 ? backward<4> : backward<5>;
    body(s, dy, x, taps, dx);
}
