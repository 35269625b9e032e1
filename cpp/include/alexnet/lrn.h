// Local response normalisation across channels, and its gradient.
//
//   s[p,c] = bias + alpha · Σ x[p,c']²,  |c'-c| <= depth_radius        y = x · s^-beta
//
// Arrays are (pixels, channels); channels >= 1, pixels may be 0. No array may overlap another.

#ifndef ALEXNET_LRN_H_
#define ALEXNET_LRN_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"

namespace alexnet {

struct LrnParameters {
    size_t depth_radius;
    float bias, alpha, beta;
};

namespace cpu {

void lrn(size_t pixels, size_t channels, const LrnParameters& parameters, const float* x, float* y);

// dx[c] = dy[c]·s[c]^-beta - 2·alpha·beta·x[c] · Σ dy[c']·x[c']·s[c']^(-beta-1),  s from x anew
// through_relu: x is a ReLU's output, and dx the gradient at its input: 0 where x is not positive.
void lrn_backward(size_t pixels, size_t channels, const LrnParameters& parameters, const float* dy,
                  const float* x, bool through_relu, float* dx);

}  // namespace cpu

namespace cuda {

// Three arrays of a pixel fit into the 48 KiB of shared memory that every device has.
constexpr size_t kMostLrnChannels = 4096;

// T: float, Bfloat16 or Float16 (storage.h).
template <class T>
void lrn(size_t pixels, size_t channels, const LrnParameters& parameters, const T* x, T* y,
         Stream stream);
template <class T>
void lrn_backward(size_t pixels, size_t channels, const LrnParameters& parameters, const T* dy,
                  const T* x, bool through_relu, T* dx, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_LRN_H_
