// LRN with AVX-512, beta 0.75 and a radius of 4 or 5, as in the tf-* variants: windows are summed in
// registers. Formulas and shapes are those of lrn.cpp, which computes every other case from rows in
// L1.
//
// Vectors run along the channels of a pixel. Sums over 2, 4 and 8 channels are shared by all the
// windows that contain them; with radius 5 around channel c, 11 channels:
//
//   channel       c-5 c-4 c-3 c-2 c-1  c  c+1 c+2 c+3 c+4 c+5
//   one            #                                                ending at c-5
//   two                #   #                                        ending at c-3
//   eight                      #   #   #   #   #   #   #   #        ending at c+5
//
// and with radius 4, 9 channels, `one` ends at c-4 and `eight` at c+4. two = one + one shifted by a
// channel, four = two + two shifted by 2, eight = four + four shifted by 4. A shift takes lanes of
// two neighbouring vectors (concat). As windows reach 5 channels ahead, the sums of a vector are
// complete only when the next vector is there: everything runs a vector behind the loads.
//
// Cost of a vector: forward 21 instructions with radius 5, backward 36, against 8 and 12 bytes an
// element: bound by memory and by instructions about equally on two threads of a Xeon. In AVX2's 16
// registers shifting takes longer than loading from L1.
// Numerics: as in lrn.cpp, but the sum is added in another order.

#ifndef ALEXNET_CPU_MICROKERNELS_LRN_REGISTERS_H_
#define ALEXNET_CPU_MICROKERNELS_LRN_REGISTERS_H_

#include "lrn_power.h"

namespace alexnet::ALEXNET_ISA {

// Sums over the windows of one pixel, vector after vector.
template <size_t kRadius>
class Window {
    static_assert(kRadius == 4 || kRadius == 5);

  public:
    // Takes the pixel's next vector; returns the sums around the channels of the vector before.
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

// Software pipelining: an iteration sums the window of one vector and computes the output of the
// one before it. Sum and output of the same vector depend on each other, a chain of 80 cycles,
// which is longer than the processor's out-of-order window can fill with other work.
template <typename Power, size_t kRadius, bool kStream>
static void forward_pipelined(size_t pixels, size_t channels, const LrnCoefficients& k,
                              const float* x, float* y) {
    const Formula<Power> formula(k);
    const size_t last = (channels - 1) / kLanes * kLanes;
    // The first iteration has no window before it: it stores zeros that the next one overwrites.
    Vec before = load_upto(x, channels), sum = zero();
    float* to = y;
    size_t n = channels;
    const auto finish = [&] {
        const Vec result = formula.output(before, sum);
        if (kStream) {
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
    // Streams only where every vector of y fills a cache line, which is decided once, here: a test
    // for each vector (stream_lines) takes 4 % longer.
    const bool fills_lines =
        channels % kLanes == 0 && reinterpret_cast<uintptr_t>(y) % kLineBytes == 0;
    const auto kernel = k.stream && fills_lines ? forward_pipelined<Power, kRadius, true>
                                                : forward_pipelined<Power, kRadius, false>;
    kernel(pixels, channels, k, x, y);
}

template <typename Power, size_t kRadius>
static void backward_in_registers(size_t pixels, size_t channels, const LrnCoefficients& k,
                                  const float* dy, const float* x, bool through_relu, float* dx,
                                  float*) {
    const Formula<Power> formula(k);
    const size_t last = (channels - 1) / kLanes * kLanes;
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
        Window<kRadius> squares, cross_terms;
        Vec v = load_upto(x, channels), before = zero(), direct = zero();
        squares.next(mul(v, v));
        for (size_t c = 0; c <= last; c += kLanes) {
            prefetch(x + c);
            prefetch(dy + c);
            const Vec after = c < last ? load_upto(x + c + kLanes, channels - c - kLanes) : zero();
            const Terms terms =
                formula.terms(load_upto(dy + c, channels - c), v, squares.next(mul(after, after)));
            const Vec sums = cross_terms.next(terms.cross_term);
            if (c > 0) {
                stream_lines(dx + c - kLanes, formula.gradient(before, direct, sums, through_relu));
            }
            before = v;
            v = after;
            direct = terms.direct;
        }
        const Vec sums = cross_terms.next(zero());
        stream_lines_upto(dx + last, formula.gradient(before, direct, sums, through_relu),
                          channels - last);
        x += channels;
        dy += channels;
        dx += channels;
    }
    fence();
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_LRN_REGISTERS_H_
