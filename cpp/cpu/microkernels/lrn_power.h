// LRN's formulas on vectors: s = bias + alpha · Σ x², its power s^-beta, y and the terms of dx.
//
//   beta   s^-beta                                                   kUnit
//   0.75   three_quarter_power (simd.h), AlexNet's                   kPowerUnit
//   0.5    rsqrt                                                     1
//   any    powf, a lane at a time                                    1
//
// three_quarter_power takes kPowerUnit · s. alpha and bias are multiplied by that beforehand, so
// that the unit costs no instruction.
// Cost of a vector: a few instructions for 0.75 and 0.5, otherwise a call of powf for each lane,
// and in the gradient of a negative beta two.
// Numerics: 0.75 and 0.5 take a refined estimate (a few ulp). An s of more than FLT_MAX /
// kPowerUnit is infinite. Where s might not be positive and normal, powf decides (s_is_ordinary).

#ifndef ALEXNET_CPU_MICROKERNELS_LRN_POWER_H_
#define ALEXNET_CPU_MICROKERNELS_LRN_POWER_H_

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// s^-beta, given kUnit times s.
struct ThreeQuarters {
    static constexpr bool kIsAny = false;
    static constexpr double kUnit = kPowerUnit;
    ALEXNET_INLINE Vec of(Vec s, float) { return three_quarter_power(s); }
};

struct Half {
    static constexpr bool kIsAny = false;
    static constexpr double kUnit = 1;
    ALEXNET_INLINE Vec of(Vec s, float) { return rsqrt(s); }
};

struct Any {
    static constexpr bool kIsAny = true;
    static constexpr double kUnit = 1;
    ALEXNET_INLINE Vec of(Vec s, float beta) {
        float lanes[kLanes];
        store(lanes, s);
        for (size_t i = 0; i < kLanes; ++i) lanes[i] = __builtin_powf(lanes[i], -beta);
        return load(lanes);
    }
};

// What dx is made of: the direct term dy·s^-beta and the cross term dy·x·s^(-beta-1).
struct Terms {
    Vec direct, cross_term;
};

// The formulas of lrn.cpp on vectors, for one of the three powers.
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

    // In units as well: the cross term is kUnit times too small.
    Terms terms(Vec dy, Vec x, Vec squares) const {
        const Vec sum = s(squares);
        const Vec direct = mul(dy, Power::of(sum, beta_));
        // Of a negative beta, s^-beta may be infinite or 0 where s^(-beta-1) is the other.
        if constexpr (Power::kIsAny) {
            if (beta_ < 0) return {direct, mul(dy, mul(x, Any::of(sum, beta_ + 1)))};
        }
        // x/s first: s^(-beta-1) by itself would underflow much earlier.
        return {direct, mul(direct, div(x, sum))};
    }

    // dx, from the sum over the window of the cross terms.
    Vec gradient(Vec x, Vec direct, Vec cross_terms, bool through_relu) const {
        const Vec dx = fnma(x, mul(factor_, cross_terms), direct);
        return through_relu ? select_positive(x, dx) : dx;
    }

  private:
    Vec s(Vec squares) const { return fma(alpha_, squares, bias_); }

    Vec alpha_, bias_, factor_;
    float beta_;
};

// Whether s is sure to be in the domain of three_quarter_power and rsqrt, counted in the former's
// units as well: positive and normal, infinite, or NaN.
static bool s_is_ordinary(const LrnCoefficients& k) {
    return k.alpha >= 0 && k.alpha <= __FLT_MAX__ / 2 && k.bias >= __FLT_MIN__ &&
           k.bias <= __FLT_MAX__ / 2;
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_LRN_POWER_H_
