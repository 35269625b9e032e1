// Batch normalisation of pixels whose channels lie side by side, `channels` floats each:
//   sums:     Σ d and Σ d² with d = x - center;   with dy given, Σ dy and Σ dy·d
//   forward:  y = (x - mean)·scale + shift, then max(0, y) if asked
//   backward: dx = scale·(dy - (constant + slope·(x - mean)))
// x, y, dy, dx are float; what belongs to a channel is double, in vectors whose length is rounded
// up to whole vectors of floats (their tails are read, and may be written, but have no effect).
//
// Cost: sums 3 FLOP and 4 bytes an element (with dy 3 and 8), forward 3 and 8, backward 5 and 12:
// memory-bound beyond the second-level cache. Four pixels are taken at a time, so that vectors of
// doubles are loaded a quarter as often as the pixels.
// Numerics: everything between loading a float and storing one is in double. Nothing is lost where
// a mean is large against the deviation, and each result is rounded once.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr size_t kPixels = 4;  // taken together

// body(c, n) for the channels c .. c + n, a vector at a time.
template <typename Body>
ALEXNET_INLINE void for_channels(size_t channels, const Body& body) {
    for (size_t c = 0; c < channels; c += kLanes) {
        body(c, channels - c < kLanes ? channels - c : kLanes);
    }
}

template <size_t kRows, bool kGradient>
static void add_pixels(size_t channels, size_t stride, const float* dy, const float* x,
                       const double* center, double* sum, double* product) {
    for_channels(channels, [=](size_t c, size_t n) {
        const Wide origin = load_wide(center + c);
        Wide sums = load_wide(sum + c), products = load_wide(product + c);
        for (size_t r = 0; r < kRows; ++r) {
            prefetch(x + r * stride + c);
            if (kGradient) prefetch(dy + r * stride + c);
            const Wide d = sub(widen(load_upto(x + r * stride + c, n)), origin);
            const Wide w = kGradient ? widen(load_upto(dy + r * stride + c, n)) : d;
            sums = add(sums, w);
            products = fma(w, d, products);
        }
        store_wide(sum + c, sums);
        store_wide(product + c, products);
    });
}

template <bool kGradient>
static void sum_pixels(size_t pixels, size_t channels, size_t stride, const float* dy,
                       const float* x, const double* center, double* sum, double* product) {
    size_t p = 0;
    for (; p + kPixels <= pixels; p += kPixels) {
        const size_t at = p * stride;
        add_pixels<kPixels, kGradient>(channels, stride, kGradient ? dy + at : nullptr, x + at,
                                       center, sum, product);
    }
    for (; p < pixels; ++p) {
        const size_t at = p * stride;
        add_pixels<1, kGradient>(channels, stride, kGradient ? dy + at : nullptr, x + at, center,
                                 sum, product);
    }
}

// Adds to `sum` and `product`. Pixels are `stride` floats apart; dy is null for Σ d and Σ d².
void batch_norm_sums(size_t pixels, size_t channels, size_t stride, const float* dy, const float* x,
                     const double* center, double* sum, double* product) {
    if (dy == nullptr) {
        sum_pixels<false>(pixels, channels, stride, dy, x, center, sum, product);
    } else {
        sum_pixels<true>(pixels, channels, stride, dy, x, center, sum, product);
    }
}

template <size_t kRows>
static void normalize(size_t channels, const float* x, const double* mean, const double* scale,
                      const double* shift, bool rectify, float* y) {
    for_channels(channels, [=](size_t c, size_t n) {
        const Wide mu = load_wide(mean + c), factor = load_wide(scale + c);
        const Wide summand = load_wide(shift + c);
        for (size_t r = 0; r < kRows; ++r) {
            prefetch(x + r * channels + c);
            prefetch_to_write(y + r * channels + c);
            const Wide d = sub(widen(load_upto(x + r * channels + c, n)), mu);
            const Wide result = fma(d, factor, summand);
            const Vec v = narrow(result);
            store_upto(y + r * channels + c, rectify ? relu(v) : v, n);
        }
    });
}

void batch_norm(size_t pixels, size_t channels, const float* x, const double* mean,
                const double* scale, const double* shift, bool rectify, float* y) {
    size_t p = 0;
    for (; p + kPixels <= pixels; p += kPixels) {
        const size_t at = p * channels;
        normalize<kPixels>(channels, x + at, mean, scale, shift, rectify, y + at);
    }
    for (; p < pixels; ++p) {
        const size_t at = p * channels;
        normalize<1>(channels, x + at, mean, scale, shift, rectify, y + at);
    }
}

template <size_t kRows>
static void propagate(size_t channels, const float* dy, const float* x, const double* mean,
                      const double* scale, const double* constant, const double* slope, float* dx) {
    for_channels(channels, [=](size_t c, size_t n) {
        const Wide mu = load_wide(mean + c), factor = load_wide(scale + c);
        const Wide summand = load_wide(constant + c), steepness = load_wide(slope + c);
        for (size_t r = 0; r < kRows; ++r) {
            const size_t at = r * channels + c;
            prefetch(x + at);
            prefetch(dy + at);
            const Wide d = sub(widen(load_upto(x + at, n)), mu);
            const Wide through = sub(widen(load_upto(dy + at, n)), fma(d, steepness, summand));
            const Wide result = mul(factor, through);
            stream_lines_upto(dx + at, narrow(result), n);
        }
    });
}

void batch_norm_backward(size_t pixels, size_t channels, const float* dy, const float* x,
                         const double* mean, const double* scale, const double* constant,
                         const double* slope, float* dx) {
    size_t p = 0;
    for (; p + kPixels <= pixels; p += kPixels) {
        const size_t at = p * channels;
        propagate<kPixels>(channels, dy + at, x + at, mean, scale, constant, slope, dx + at);
    }
    for (; p < pixels; ++p) {
        const size_t at = p * channels;
        propagate<1>(channels, dy + at, x + at, mean, scale, constant, slope, dx + at);
    }
    fence();
}

}  // namespace alexnet::ALEXNET_ISA
