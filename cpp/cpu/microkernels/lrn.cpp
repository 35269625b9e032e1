// LRN across the channels of a run of pixels, and its gradient.
//   s[p,c] = bias + alpha · Σ x[p,c']²,  |c'-c| <= radius        y = x · s^-beta
//   dx[p,c] = direct[p,c] - 2·alpha·beta · x[p,c] · Σ shared[p,c'],  |c'-c| <= radius
//       with direct = dy·s^-beta and shared = dy·x·s^(-beta-1)
// Shapes: all arrays (pixels, channels) f32, contiguous. In place is not allowed.
// Kept for backward: nothing; s is computed from x again, which costs less than reading it.
//
// What has neighbours (squares, shared) needs the vectors beside it. With AVX-512 and the radii of
// AlexNet they are shifted in registers, sums over 2, 4 and 8 channels being shared by the windows
// that contain them. Elsewhere they pass through row buffers in L1 that have zeros on both sides,
// so that windows need no bounds. Such a row is read kInFlight floats or more after it is written,
// because loads that straddle stores still in flight have to wait for them: with 48 channels and
// AVX2, reading it one row later took three times as long. In AVX2's 16 registers shifting takes
// longer than loading.
//
// Cost of a vector: forward 21 instructions with AVX-512 and radius 5, otherwise 2·radius + 16;
// backward 36, or 4·radius + 22; against 8 and 12 bytes an element of memory traffic (12 where
// forward does not store past the caches). Prefetches far ahead let both overlap.
// Numerics: windows are summed anew for every channel, never by adding to and taking from the sum
// beside. beta 0.75 and 0.5 take powers from a refined estimate (a few ulp); any other beta, and an
// s that might not be positive and normal, takes powf. An s of more than FLT_MAX / kPowerUnit is
// infinite. Margins are added as zeros and never multiply infinity.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

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

// --- the formulas ------------------------------------------------------------------------------

// Powers of s, given kUnit times s.
struct ThreeQuarters {
    static constexpr double kUnit = kPowerUnit;
    ALEXNET_INLINE Vec of(Vec s, float) { return three_quarter_power(s); }
};

struct Half {
    static constexpr double kUnit = 1;
    ALEXNET_INLINE Vec of(Vec s, float) { return rsqrt(s); }
};

struct Any {
    static constexpr double kUnit = 1;
    ALEXNET_INLINE Vec of(Vec s, float beta) {
        float lanes[kLanes];
        store(lanes, s);
        for (size_t i = 0; i < kLanes; ++i) lanes[i] = __builtin_powf(lanes[i], -beta);
        return load(lanes);
    }
};

struct Terms {
    Vec direct, shared;
};

template <typename Power>
class Formula {
  public:
    explicit Formula(const LrnCoefficients& k)
        : alpha_(broadcast(static_cast<float>(k.alpha * Power::kUnit))),
          bias_(broadcast(static_cast<float>(k.bias * Power::kUnit))),
          factor_(broadcast(static_cast<float>(2 * Power::kUnit * k.alpha * k.beta))),
          beta_(k.beta) {}

    // y, from the sum over the window of x².
    Vec output(Vec x, Vec squares) const { return mul(x, Power::of(s(squares), beta_)); }

    // `shared` is counted in units of s, too.
    Terms terms(Vec dy, Vec x, Vec squares) const {
        const Vec sum = s(squares);
        const Vec direct = mul(dy, Power::of(sum, beta_));
        // x/s first: s^(-beta-1) by itself would underflow much earlier.
        return {direct, mul(direct, div(x, sum))};
    }

    // dx, from the sum over the window of `shared`.
    Vec gradient(Vec x, Vec direct, Vec shared, bool through_relu) const {
        const Vec dx = fnma(x, mul(factor_, shared), direct);
        return through_relu ? select_positive(x, dx) : dx;
    }

  private:
    Vec s(Vec squares) const { return fma(alpha_, squares, bias_); }

    Vec alpha_, bias_, factor_;
    float beta_;
};

// --- any radius: windows of rows in L1 ---------------------------------------------------------

// kRadius is the radius where the compiler knows it, otherwise 0.
template <size_t kRadius>
ALEXNET_INLINE Vec window_sum(const float* middle, size_t radius) {
    const size_t last = kRadius > 0 ? kRadius : radius;
    Vec sum = load(middle);
#pragma GCC unroll 5
    for (size_t j = 1; j <= last; ++j) sum = add(sum, add(load(middle - j), load(middle + j)));
    return sum;
}

ALEXNET_INLINE void store_output(const LrnCoefficients& k, float* y, Vec v, size_t n) {
    k.past ? stream_lines_upto(y, v, n) : store_upto(y, v, n);
}

ALEXNET_INLINE void square_row(size_t channels, const float* x, float* squares) {
    for (size_t c = 0; c < channels; c += kLanes) {
        prefetch(x + c);
        const Vec v = load_upto(x + c, channels - c);
        store(squares + c, mul(v, v));
    }
}

template <typename Power, size_t kRadius>
static void forward(size_t pixels, size_t channels, const LrnCoefficients& k, const float* x,
                    float* y, float* workspace) {
    const Rows squares(workspace, channels, k.radius);
    const size_t lag = Rows::lag(channels);
    const Formula<Power> formula(k);
    for (size_t step = 0; step < pixels + lag; ++step) {
        if (step < pixels) square_row(channels, x + step * channels, squares[step]);
        if (step < lag) continue;
        const size_t pixel = (step - lag) * channels;
        const float* row = squares[step - lag];
        for (size_t c = 0; c < channels; c += kLanes) {
            const size_t n = channels - c;
            if (!(k.past && kVectorFillsLine)) prefetch_to_write(y + pixel + c);
            const Vec v = load_upto(x + pixel + c, n);
            store_output(k, y + pixel + c,
                         formula.output(v, window_sum<kRadius>(row + c, k.radius)), n);
        }
    }
    fence();
}

template <typename Power, size_t kRadius>
static void backward(size_t pixels, size_t channels, const LrnCoefficients& k, const float* dy,
                     const float* x, bool through_relu, float* dx, float* workspace) {
    const size_t size = Rows::size(channels, k.radius), lag = Rows::lag(channels);
    const Rows squares(workspace, channels, k.radius);
    const Rows direct(workspace + size, channels, k.radius);
    const Rows shared(workspace + 2 * size, channels, k.radius);
    const Formula<Power> formula(k);
    for (size_t step = 0; step < pixels + 2 * lag; ++step) {
        if (step < pixels) square_row(channels, x + step * channels, squares[step]);
        if (step >= lag && step < pixels + lag) {
            const size_t pixel = (step - lag) * channels;
            const float* row = squares[step - lag];
            for (size_t c = 0; c < channels; c += kLanes) {
                const size_t n = channels - c;
                prefetch(dy + pixel + c);
                const Terms terms =
                    formula.terms(load_upto(dy + pixel + c, n), load_upto(x + pixel + c, n),
                                  window_sum<kRadius>(row + c, k.radius));
                store(direct[step - lag] + c, terms.direct);
                store(shared[step - lag] + c, terms.shared);
            }
        }
        if (step >= 2 * lag) {
            const size_t pixel = (step - 2 * lag) * channels;
            const float* row = shared[step - 2 * lag];
            for (size_t c = 0; c < channels; c += kLanes) {
                const size_t n = channels - c;
                const Vec result =
                    formula.gradient(load_upto(x + pixel + c, n), load(direct[step - 2 * lag] + c),
                                     window_sum<kRadius>(row + c, k.radius), through_relu);
                stream_lines_upto(dx + pixel + c, result, n);
            }
        }
    }
    fence();
}

// --- a radius of 4 or 5 with AVX-512: windows in registers -------------------------------------

#if defined(ALEXNET_ISA_AVX512)

// Sums over the windows of one row, from sums over 2, 4 and 8 channels.
template <size_t kRadius>
class Window {
    static_assert(kRadius == 4 || kRadius == 5);

  public:
    // Takes the row's next vector; returns the sums around the channels of the vector before.
    Vec next(Vec v) {
        const Vec two = add(behind<1>(one_, v), v);
        const Vec four = add(behind<2>(two_, two), two);
        const Vec eight = add(behind<4>(four_, four), four);
        Vec sum = add(behind<kRadius>(one_before_, one_), concat<kRadius>(eight_, eight));
        if (kRadius == 5) sum = add(behind<3>(two_before_, two_), sum);
        one_before_ = one_;
        two_before_ = two_;
        one_ = v;
        two_ = two;
        four_ = four;
        eight_ = eight;
        return sum;
    }

  private:
    // b as it was n channels before; a is the vector before b.
    template <size_t n>
    ALEXNET_INLINE Vec behind(Vec a, Vec b) {
        return concat<kLanes - n>(a, b);
    }

    // Of the last vector, and the one before: the sums over so many channels that end there.
    Vec one_ = zero(), two_ = zero(), four_ = zero(), eight_ = zero();
    Vec one_before_ = zero(), two_before_ = zero();
};

// The output of a vector is computed an iteration after its window. One after the other they are a
// chain of 80 cycles, more than the processor finds independent instructions for ahead of it.
template <typename Power, size_t kRadius, bool kPast>
static void forward_in_turns(size_t pixels, size_t channels, const LrnCoefficients& k,
                             const float* x, float* y) {
    const Formula<Power> formula(k);
    const size_t last = (channels - 1) / kLanes * kLanes;
    // The first turn has no window before it; what it stores is stored again.
    Vec before = load_upto(x, channels), sum = zero();
    float* to = y;
    size_t n = channels;
    const auto finish = [&] {
        const Vec result = formula.output(before, sum);
        if (kPast) {
            stream(to, result);
        } else {
            store_upto(to, result, n);
        }
    };
    for (size_t pixel = 0; pixel < pixels; ++pixel, x += channels, y += channels) {
        Window<kRadius> squares;
        Vec v = load_upto(x, channels);
        squares.next(mul(v, v));
        for (size_t c = 0; c <= last; c += kLanes) {
            prefetch(x + c);
            const Vec after = c < last ? load_upto(x + c + kLanes, channels - c - kLanes) : zero();
            const Vec next_sum = squares.next(mul(after, after));
            finish();
            before = v;
            sum = next_sum;
            to = y + c;
            n = channels - c;
            v = after;
        }
    }
    finish();
    fence();
}

template <typename Power, size_t kRadius>
static void forward_in_registers(size_t pixels, size_t channels, const LrnCoefficients& k,
                                 const float* x, float* y, float*) {
    // Past the caches only where each vector fills a line: to ask for each takes 4 % longer.
    const bool fill = channels % kLanes == 0 && reinterpret_cast<uintptr_t>(y) % sizeof(Vec) == 0;
    const auto run = k.past && fill ? forward_in_turns<Power, kRadius, true>
                                    : forward_in_turns<Power, kRadius, false>;
    run(pixels, channels, k, x, y);
}

template <typename Power, size_t kRadius>
static void backward_in_registers(size_t pixels, size_t channels, const LrnCoefficients& k,
                                  const float* dy, const float* x, bool through_relu, float* dx,
                                  float*) {
    const Formula<Power> formula(k);
    const size_t last = (channels - 1) / kLanes * kLanes;
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
        Window<kRadius> squares, shared;
        Vec v = load_upto(x, channels), before = zero(), direct = zero();
        squares.next(mul(v, v));
        for (size_t c = 0; c <= last; c += kLanes) {
            prefetch(x + c);
            prefetch(dy + c);
            const Vec after = c < last ? load_upto(x + c + kLanes, channels - c - kLanes) : zero();
            const Terms terms =
                formula.terms(load_upto(dy + c, channels - c), v, squares.next(mul(after, after)));
            const Vec sums = shared.next(terms.shared);
            if (c > 0) {
                stream_lines(dx + c - kLanes, formula.gradient(before, direct, sums, through_relu));
            }
            before = v;
            v = after;
            direct = terms.direct;
        }
        const Vec sums = shared.next(zero());
        stream_lines_upto(dx + last, formula.gradient(before, direct, sums, through_relu),
                          channels - last);
        x += channels;
        dy += channels;
        dx += channels;
    }
    fence();
}

template <typename Power, size_t kRadius>
constexpr auto forward_known = forward_in_registers<Power, kRadius>;
template <typename Power, size_t kRadius>
constexpr auto backward_known = backward_in_registers<Power, kRadius>;

#else

template <typename Power, size_t kRadius>
constexpr auto forward_known = forward<Power, kRadius>;
template <typename Power, size_t kRadius>
constexpr auto backward_known = backward<Power, kRadius>;

#endif

// --- table entries -----------------------------------------------------------------------------

// Whether s is sure to be positive and normal, infinite, or NaN, in units as well.
static bool s_is_ordinary(const LrnCoefficients& k) {
    return k.alpha >= 0 && k.alpha <= __FLT_MAX__ / 2 && k.bias >= __FLT_MIN__ &&
           k.bias <= __FLT_MAX__ / 2;
}

void lrn(size_t pixels, size_t channels, const LrnCoefficients& k, const float* x, float* y,
         float* workspace) {
    auto kernel = forward<Any, 0>;
    if (k.beta == 0.75f && s_is_ordinary(k)) {
        kernel = k.radius == 5   ? forward_known<ThreeQuarters, 5>
                 : k.radius == 4 ? forward_known<ThreeQuarters, 4>
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
        kernel = k.radius == 5   ? backward_known<ThreeQuarters, 5>
                 : k.radius == 4 ? backward_known<ThreeQuarters, 4>
                                 : backward<ThreeQuarters, 0>;
    } else if (k.beta == 0.5f) {
        kernel = backward<Half, 0>;
    }
    kernel(pixels, channels, k, dy, x, through_relu, dx, workspace);
}

}  // namespace alexnet::ALEXNET_ISA
