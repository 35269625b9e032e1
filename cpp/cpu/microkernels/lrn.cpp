// Local response normalisation (LRN) across the channels of each pixel, and its gradient.
//   s[p,c]  = bias + alpha · Σ x[p,c']²,  |c'-c| <= radius          y = x · s^-beta
//   dx[p,c] = direct[p,c] - 2·alpha·beta · x[p,c] · Σ cross_term[p,c'],  |c'-c| <= radius
//       with direct = dy·s^-beta and cross_term = dy·x·s^(-beta-1)
// Shapes: all arrays (pixels, channels) f32, contiguous. In place is not allowed. through_relu: x is
// a ReLU's output, and dx the gradient at that ReLU's input: 0 where x is not positive.
// Kept for backward: nothing; s is computed from x again, which costs less than reading it.
//
// Vectors run along the channels, so a window reaches into the vectors beside it. The squares of
// a pixel therefore pass through a row in L1 that has zeros on both sides, so that windows need no
// bounds, and are read from there by loads at every channel of the window (radius 2):
//
//             margin ┊ channels of one pixel           ┊ margin
//    row     0 0 0 0 ┊ x² x² x² x² x² x² x² x² x² x² … ┊ 0 0 0 0
//    c - 2                [---------]
//    c - 1                   [---------]          the window sums of the 4 channels from c on
//    c                          [---------]       (vectors of 4): these 5 loads, added
//    c + 1                         [---------]
//    c + 2                            [---------]
//
// Backward does the same again with rows of cross terms. A load that covers parts of two stores
// has to wait until both have left the store buffer for L1 (store-to-load forwarding fails). So a
// row is read only kInFlight floats or more after it was written, which may be several pixels
// later, and the rows are a ring: with 48 channels and AVX2, reading a row one pixel later took
// twice as long.
//
// The powers are in lrn_power.h. With AVX-512, beta 0.75 and a radius of 4 or 5 (and alpha and bias
// as s_is_ordinary asks) lrn_registers.h runs instead: it sums windows in registers.
//
// Cost of a vector: forward 2·radius + 16 instructions, backward 4·radius + 22; here they are the
// bound. Memory traffic an element: forward 8 bytes, backward 12, where results are streamed
// (AVX-512, whole lines); 4 more where they are not, as a line is read before it is written.
// Numerics: windows are summed anew for every channel, never by adding to and taking from the sum
// beside: a large value that leaves would take the small ones' digits with it. Margins are added as
// zeros and never multiply infinity.

#include "kernels.h"
#include "lrn_power.h"
#include "simd.h"

#if defined(ALEXNET_ISA_AVX512)
#include "lrn_registers.h"
#endif

namespace alexnet::ALEXNET_ISA {

constexpr size_t kInFlight = 256;  // floats between a row's stores and its loads: measured

// A ring of the latest rows, one a pixel, each between margins of zeros.
class Rows {
  public:
    // Rows between writing a row and reading it: enough for kInFlight floats.
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
    k.stream ? stream_lines_upto(y, v, n) : store_upto(y, v, n);
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
            if (!(k.stream && kVectorFillsLine)) prefetch_to_write(y + pixel + c);
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
    const Rows cross_terms(workspace + 2 * size, channels, k.radius);
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
                float* cross_term = cross_terms[step - lag] + c;
                // The margin stays zero: with any power, 0 · s^-beta may be NaN behind the channels.
                Power::kIsAny ? store_upto(cross_term, terms.cross_term, n)
                              : store(cross_term, terms.cross_term);
            }
        }
        if (step >= 2 * lag) {
            const size_t pixel = (step - 2 * lag) * channels;
            const float* row = cross_terms[step - 2 * lag];
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

// --- table entries -----------------------------------------------------------------------------

#if defined(ALEXNET_ISA_AVX512)
template <size_t kRadius>
constexpr auto forward_known_radius = forward_in_registers<ThreeQuarters, kRadius>;
template <size_t kRadius>
constexpr auto backward_known_radius = backward_in_registers<ThreeQuarters, kRadius>;
#else
template <size_t kRadius>
constexpr auto forward_known_radius = forward<ThreeQuarters, kRadius>;
template <size_t kRadius>
constexpr auto backward_known_radius = backward<ThreeQuarters, kRadius>;
#endif

void lrn(size_t pixels, size_t channels, const LrnCoefficients& k, const float* x, float* y,
         float* workspace) {
    auto kernel = forward<Any, 0>;
    if (k.beta == 0.75f && s_is_ordinary(k)) {
        kernel = k.radius == 5   ? forward_known_radius<5>
                 : k.radius == 4 ? forward_known_radius<4>
                                 : forward<ThreeQuarters, 0>;
    } else if (k.beta == 0.5f && s_is_ordinary(k)) {
        kernel = forward<Half, 0>;
    }
    kernel(pixels, channels, k, x, y, workspace);
}

void lrn_backward(size_t pixels, size_t channels, const LrnCoefficients& k, const float* dy,
                  const float* x, bool through_relu, float* dx, float* workspace) {
    auto kernel = backward<Any, 0>;
    if (k.beta == 0.75f && s_is_ordinary(k)) {
        kernel = k.radius == 5   ? backward_known_radius<5>
                 : k.radius == 4 ? backward_known_radius<4>
                                 : backward<ThreeQuarters, 0>;
    } else if (k.beta == 0.5f && s_is_ordinary(k)) {
        kernel = backward<Half, 0>;
    }
    kernel(pixels, channels, k, dy, x, through_relu, dx, workspace);
}

}  // namespace alexnet::ALEXNET_ISA
