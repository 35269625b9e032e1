// What the machine can do at most: fused multiply-adds, and moving memory.
//
// fma_loop:   x = a·x + b on kChains registers, nothing else: 2 FLOP a lane and step. A result is
//             needed again only kChains steps later, which hides the latency of the instruction
//             (4 or 5 cycles at two a cycle: at least 10 chains).
// read_all:   loads only, 4 bytes an element.
// stream_all: loads and non-temporal stores, 8 bytes an element; no line is read to be written.
// Numerics: the chains converge to b / (1 - a) = 2, so no value ever becomes subnormal.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr size_t kChains = 12;  // beside two constants in the 16 registers of AVX2

// Steps of all chains; their sum goes to `sink` (one vector) so that it has to be computed.
// Returns the FLOP done.
size_t fma_loop(size_t steps, float* sink) {
    const Vec a = broadcast(0.5f), b = broadcast(1.0f);
    Vec x[kChains];
    for (size_t c = 0; c < kChains; ++c) x[c] = broadcast(static_cast<float>(c));
    for (size_t step = 0; step < steps; ++step) {
        for (size_t c = 0; c < kChains; ++c) x[c] = fma(a, x[c], b);
    }
    Vec sum = x[0];
    for (size_t c = 1; c < kChains; ++c) sum = add(sum, x[c]);
    store(sink, sum);
    return steps * kChains * kLanes * 2;
}

// n is a multiple of 8 vectors. The sum goes to `sink`, one vector.
void read_all(size_t n, const float* x, float* sink) {
    Vec sum[8] = {zero(), zero(), zero(), zero(), zero(), zero(), zero(), zero()};
    for (size_t i = 0; i < n; i += 8 * kLanes) {
        for (size_t v = 0; v < 8; ++v) sum[v] = add(sum[v], load(x + i + v * kLanes));
    }
    for (size_t v = 1; v < 8; ++v) sum[0] = add(sum[0], sum[v]);
    store(sink, sum[0]);
}

// n is a multiple of a vector, and y is aligned to one.
void stream_all(size_t n, const float* x, float* y) {
    for (size_t i = 0; i < n; i += kLanes) stream(y + i, load(x + i));
    fence();
}

}  // namespace alexnet::ALEXNET_ISA
