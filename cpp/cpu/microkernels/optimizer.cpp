// Parameter updates on a range, in place, one pass over memory.
//
// SGD:   v = momentum·v + (g + weight_decay·p);   p = p - rate·v
// Adam:  g' = g + weight_decay·p;   m = beta1·m + share1·g';   s = beta2·s + share2·g'²
//        p = p - rate·m / (root_scale·sqrt(s) + epsilon)
//
// Cost: SGD 6 FLOP and 20 bytes an element (reads p, g, v, writes p, v), Adam 13 FLOP, a square
// root, a division and 28 bytes: memory-bound.
// Numerics: the state is float32 by contract. Each new value takes at most 3 (SGD) or 7 (Adam)
// roundings of 2^-24, coefficients included, of terms no larger than what is summed: below 1e-6 as
// long as old and new terms do not cancel. s below 1e-45 is 0, as in any float32 state.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

ALEXNET_INLINE void sgd_step(const SgdCoefficients& k, Vec* p, Vec g, Vec* v) {
    const Vec decayed = fma(broadcast(k.weight_decay), *p, g);
    *v = fma(broadcast(k.momentum), *v, decayed);
    *p = fnma(broadcast(k.rate), *v, *p);
}

void sgd_update(size_t n, const SgdCoefficients& coefficients, float* parameter,
                const float* gradient, float* velocity) {
    const SgdCoefficients k = coefficients;  // a copy: no store below can be suspected to change it
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        Vec p = load(parameter + i), v = load(velocity + i);
        sgd_step(k, &p, load(gradient + i), &v);
        store(parameter + i, p);
        store(velocity + i, v);
    }
    if (i < n) {
        const size_t rest = n - i;
        Vec p = load_tail(parameter + i, rest), v = load_tail(velocity + i, rest);
        sgd_step(k, &p, load_tail(gradient + i, rest), &v);
        store_tail(parameter + i, p, rest);
        store_tail(velocity + i, v, rest);
    }
}

ALEXNET_INLINE void adam_step(const AdamCoefficients& k, Vec* p, Vec g, Vec* m, Vec* s) {
    g = fma(broadcast(k.weight_decay), *p, g);
    *m = fma(broadcast(k.beta1), *m, mul(broadcast(k.share1), g));
    *s = fma(broadcast(k.beta2), *s, mul(mul(broadcast(k.share2), g), g));
    const Vec root = fma(broadcast(k.root_scale), sqrt(*s), broadcast(k.epsilon));
    *p = sub(*p, div(mul(broadcast(k.rate), *m), root));
}

void adam_update(size_t n, const AdamCoefficients& coefficients, float* parameter,
                 const float* gradient, float* first_moment, float* second_moment) {
    const AdamCoefficients k = coefficients;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        Vec p = load(parameter + i), m = load(first_moment + i), s = load(second_moment + i);
        adam_step(k, &p, load(gradient + i), &m, &s);
        store(parameter + i, p);
        store(first_moment + i, m);
        store(second_moment + i, s);
    }
    if (i < n) {
        const size_t rest = n - i;
        Vec p = load_tail(parameter + i, rest);
        Vec m = load_tail(first_moment + i, rest), s = load_tail(second_moment + i, rest);
        adam_step(k, &p, load_tail(gradient + i, rest), &m, &s);
        store_tail(parameter + i, p, rest);
        store_tail(first_moment + i, m, rest);
        store_tail(second_moment + i, s, rest);
    }
}

}  // namespace alexnet::ALEXNET_ISA
