// LRN across the channels of a run of pixels, and its gradient.
//   s[p,c] = bias + alpha · Σ x[p,c']²,  |c'-c| <= radius        y = x · s^-beta
//   dx[p,c] = direct[p,c] - 2·alpha·beta · x[p,c] · Σ shared[p,c'],  |c'-c| <= radius
//       with direct = dy·s^-beta and shared = dy·x·s^(-beta-1)
// Shapes: all arrays (pixels, channels) f32, contiguous. In place is not allowed.
// Kept for backward: nothing; s is computed from x again, which costs less than reading it.
//
// What has neighbours (squares, shared) passes through row buffers in L1 that have zeros on both
// sides, so that windows need no bounds. A row is read kInFlight floats or more after it is
// written, because loads that straddle stores still in flight have to wait for them: with 48
// channels and AVX2, reading it one row later took three times as long.
//
// Cost of a vector: forward 2·radius + 19 arithmetic instructions, backward 4·radius + 28, against
// 8 and 12 bytes an element of memory traffic (12 and 16 with the lines that are read before they
// are overwritten). At radius 4 or 5 with AVX-512 one thread computes at about two thirds of the
// speed at which it could copy; prefetches far ahead let the two overlap.
// Numerics: windows are summed anew for every channel, from the middle outwards. beta 0.75 and 0.5
// take s^-1/4 or s^-1/2 from a refined estimate (a few ulp); any other beta, and an s that might
// not be positive and normal, takes powf. Margins are added as zeros and never multiply infinity.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr size_t kAhead = 1024;  // floats from a prefetch to the use of its line

constexpr size_t kInFlight = 256;  // floats that may still be on their way from the store buffers

// The latest rows of channels, between margins of zeros.
class Rows {
  public:
    // Rows from the writing of one to its reading.
    static size_t lag(size_t channels) { return (kInFlight + channels - 1) / channels; }
    static size_t size(size_t channels, size_t radius) {
        return count(channels) * stride(channels, radius);
    }

    Rows(float* memory, size_t channels, size_t radius)
        : first_(memory + margin(radius)),
          stride_(stride(channels, radius)),
          mask_(count(channels) - 1) {
        for (size_t i = 0; i < size(channels, radius); i += kLanes) store(memory + i, zero());
    }

    float* operator[](size_t pixel) const { return first_ + (pixel & mask_) * stride_; }

  private:
    static size_t margin(size_t radius) { return (radius + kLanes - 1) / kLanes * kLanes; }
    static size_t stride(size_t channels, size_t radius) {
        return 2 * margin(radius) + (channels + kLanes - 1) / kLanes * kLanes;
    }
    static size_t count(size_t channels) {
        size_t rows = 2;
        while (rows <= lag(channels)) rows *= 2;
        return rows;
    }

    float* first_;
    size_t stride_, mask_;
};

size_t lrn_workspace(size_t channels, size_t radius) { return 3 * Rows::size(channels, radius); }

// --- s^-beta -----------------------------------------------------------------------------------

struct Powers {
    Vec scale;  // s^-beta
    Vec root;   // s^-1/2
};

struct ThreeQuarters {
    ALEXNET_INLINE Powers of(Vec s, float) {
        const Vec q = rsqrt_sqrt(s);
        const Vec root = mul(q, q);
        return {mul(root, q), root};
    }
};

struct Half {
    ALEXNET_INLINE Powers of(Vec s, float) {
        const Vec root = rsqrt(s);
        return {root, root};
    }
};

struct Any {
    ALEXNET_INLINE Powers of(Vec s, float beta) {
        float lanes[kLanes];
        store(lanes, s);
        for (size_t i = 0; i < kLanes; ++i) lanes[i] = __builtin_powf(lanes[i], -beta);
        return {load(lanes), rsqrt(s)};
    }
};

// --- rows --------------------------------------------------------------------------------------

ALEXNET_INLINE Vec load_upto(const float* p, size_t n) {
    return n >= kLanes ? load(p) : load_tail(p, n);
}
ALEXNET_INLINE void store_upto(float* p, Vec v, size_t n) {
    if (n >= kLanes) {
        store(p, v);
    } else {
        store_tail(p, v, n);
    }
}

// kRadius is the radius where the compiler knows it, otherwise 0.
template <size_t kRadius>
ALEXNET_INLINE Vec window_sum(const float* middle, size_t radius) {
    const size_t last = kRadius > 0 ? kRadius : radius;
    Vec sum = load(middle);
#pragma GCC unroll 5
    for (size_t j = 1; j <= last; ++j) sum = add(sum, add(load(middle - j), load(middle + j)));
    return sum;
}

ALEXNET_INLINE void square_row(size_t channels, const float* x, float* squares) {
    for (size_t c = 0; c < channels; c += kLanes) {
        __builtin_prefetch(x + c + kAhead);
        const Vec v = load_upto(x + c, channels - c);
        store(squares + c, mul(v, v));
    }
}

template <typename Power, size_t kRadius>
static void forward(size_t pixels, size_t channels, const LrnCoefficients& k, const float* x,
                    float* y, float* workspace) {
    const Rows squares(workspace, channels, k.radius);
    const size_t lag = Rows::lag(channels);
    const Vec alpha = broadcast(k.alpha), bias = broadcast(k.bias);
    for (size_t step = 0; step < pixels + lag; ++step) {
        if (step < pixels) square_row(channels, x + step * channels, squares[step]);
        if (step < lag) continue;
        const size_t pixel = (step - lag) * channels;
        const float* row = squares[step - lag];
        for (size_t c = 0; c < channels; c += kLanes) {
            const size_t n = channels - c;
            __builtin_prefetch(y + pixel + c + kAhead, 1);
            const Vec s = fma(alpha, window_sum<kRadius>(row + c, k.radius), bias);
            const Vec scale = Power::of(s, k.beta).scale;
            store_upto(y + pixel + c, mul(load_upto(x + pixel + c, n), scale), n);
        }
    }
}

template <typename Power, size_t kRadius>
static void backward(size_t pixels, size_t channels, const LrnCoefficients& k, const float* dy,
                     const float* x, bool through_relu, float* dx, float* workspace) {
    const size_t size = Rows::size(channels, k.radius), lag = Rows::lag(channels);
    const Rows squares(workspace, channels, k.radius);
    const Rows direct(workspace + size, channels, k.radius);
    const Rows shared(workspace + 2 * size, channels, k.radius);
    const Vec alpha = broadcast(k.alpha), bias = broadcast(k.bias);
    const Vec factor = broadcast(static_cast<float>(2.0 * k.alpha * k.beta));
    for (size_t step = 0; step < pixels + 2 * lag; ++step) {
        if (step < pixels) square_row(channels, x + step * channels, squares[step]);
        if (step >= lag && step < pixels + lag) {
            const size_t pixel = (step - lag) * channels;
            const float* row = squares[step - lag];
            for (size_t c = 0; c < channels; c += kLanes) {
                const size_t n = channels - c;
                __builtin_prefetch(dy + pixel + c + kAhead);
                const Vec s = fma(alpha, window_sum<kRadius>(row + c, k.radius), bias);
                const Powers power = Power::of(s, k.beta);
                // x/s as x·s^-1/2·s^-1/2: s^(-beta-1) by itself would underflow much earlier.
                const Vec x_over_s = mul(mul(load_upto(x + pixel + c, n), power.root), power.root);
                const Vec scaled = mul(load_upto(dy + pixel + c, n), power.scale);
                store(direct[step - lag] + c, scaled);
                store(shared[step - lag] + c, mul(scaled, x_over_s));
            }
        }
        if (step >= 2 * lag) {
            const size_t pixel = (step - 2 * lag) * channels;
            const float* row = shared[step - 2 * lag];
            for (size_t c = 0; c < channels; c += kLanes) {
                const size_t n = channels - c;
                const Vec sum = mul(factor, window_sum<kRadius>(row + c, k.radius));
                const Vec v = load_upto(x + pixel + c, n);
                const Vec gradient = fnma(v, sum, load(direct[step - 2 * lag] + c));
                const Vec result = through_relu ? select_positive(v, gradient) : gradient;
                n >= kLanes ? store_past(dx + pixel + c, result)
                            : store_tail(dx + pixel + c, result, n);
            }
        }
    }
    fence();
}

// --- table entries -----------------------------------------------------------------------------

// Whether s is sure to be positive and normal, infinite, or NaN.
static bool s_is_ordinary(const LrnCoefficients& k) {
    return k.alpha >= 0 && k.bias >= __FLT_MIN__;
}

void lrn(size_t pixels, size_t channels, const LrnCoefficients& k, const float* x, float* y,
         float* workspace) {
    auto kernel = forward<Any, 0>;
    if (k.beta == 0.75f && s_is_ordinary(k)) {
        kernel = k.radius == 5   ? forward<ThreeQuarters, 5>
                 : k.radius == 4 ? forward<ThreeQuarters, 4>
                                 : forward<ThreeQuarters, 0>;
    } else if (k.beta == 0.5f) {
        kernel = forward<Half, 0>;
    }
    kernel(pixels, channels, k, x, y, workspace);
}

void lrn_backward(size_t pixels, size_t channels, const LrnCoefficients& k, const float* dy,
                  const float* x, bool through_relu, float* dx, float* workspace) {
    auto kernel = backward<Any, 0>;
    if (k.beta == 0.75f && s_is_ordinary(k)) {
        kernel = k.radius == 5   ? backward<ThreeQuarters, 5>
                 : k.radius == 4 ? backward<ThreeQuarters, 4>
                                 : backward<ThreeQuarters, 0>;
    } else if (k.beta == 0.5f) {
        kernel = backward<Half, 0>;
    }
    kernel(pixels, channels, k, dy, x, through_relu, dx, workspace);
}

}  // namespace alexnet::ALEXNET_ISA
