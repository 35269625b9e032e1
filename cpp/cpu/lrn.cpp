// LRN over a tensor: chunks of pixels, each computed by one thread. The formula, cost and numerics
// are in microkernels/lrn.cpp. Pixels are independent, so chunks do not show in the result.

#include "alexnet/lrn.h"

#include <algorithm>

#include "dispatch.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kChunk = 1 << 15;  // floats: enough work to pay for a thread, and to deal it out

// body(first pixel, pixels, coefficients, workspace) on every chunk.
template <typename Body>
void for_chunks(const KernelTable& k, size_t pixels, size_t channels,
                const LrnParameters& parameters, const Body& body) {
    // A store to a line that is in no cache reads the line first; a stream does not.
    const bool stream = pixels * channels * sizeof(float) > l2_cache_bytes();
    const LrnCoefficients coefficients{.radius = std::min(parameters.depth_radius, channels - 1),
                                       .bias = parameters.bias,
                                       .alpha = parameters.alpha,
                                       .beta = parameters.beta,
                                       .stream = stream};
    const size_t chunk = std::max<size_t>(kChunk / channels, 1);
    const size_t chunks = (pixels + chunk - 1) / chunk;
    const int threads = useful_threads(chunks, 1);
    const Slices workspace(Slot::kLrnRows, static_cast<size_t>(threads),
                           Size{k.lrn_workspace(channels, coefficients.radius)});
    parallel_tasks(threads, chunks, [&](size_t task, size_t thread) {
        const size_t first = task * chunk;
        body(first, std::min(chunk, pixels - first), coefficients, workspace[thread]);
    });
}

}  // namespace

void lrn(size_t pixels, size_t channels, const LrnParameters& parameters, const float* x,
         float* y) {
    const KernelTable& k = kernels();
    for_chunks(k, pixels, channels, parameters,
               [&](size_t first, size_t count, const LrnCoefficients& coefficients, float* rows) {
                   const size_t at = first * channels;
                   k.lrn(count, channels, coefficients, x + at, y + at, rows);
               });
}

void lrn_backward(size_t pixels, size_t channels, const LrnParameters& parameters, const float* dy,
                  const float* x, bool through_relu, float* dx) {
    const KernelTable& k = kernels();
    for_chunks(k, pixels, channels, parameters,
               [&](size_t first, size_t count, const LrnCoefficients& coefficients, float* rows) {
                   const size_t at = first * channels;
                   k.lrn_backward(count, channels, coefficients, dy + at, x + at, through_relu,
                                  dx + at, rows);
               });
}

}  // namespace alexnet::cpu
