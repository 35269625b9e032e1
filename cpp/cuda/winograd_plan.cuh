// Which tiles Winograd's algorithm cuts a convolution into, which convolutions it serves, and which
// it is chosen for.
//
// Tiles are of one size: `outputs` along both axes, which see points = outputs + window - 1 inputs.
// Those at the border may have outputs that are not stored. docs/gpu.md has the count that the
// choice rests on.

#ifndef ALEXNET_CUDA_WINOGRAD_PLAN_CUH_
#define ALEXNET_CUDA_WINOGRAD_PLAN_CUH_

#include "alexnet/conv2d.h"

namespace alexnet::cuda {

struct WinogradPlan {
    // Of the convolution that is computed: for the gradient of the input that of dy with flipped
    // weights.
    Conv2dShape s;
    size_t window, outputs;
    size_t down, across;  // tiles of an image
    size_t chunk;         // images whose V and M are in memory at once

    // `s` is served (winograd_unsupported).
    WinogradPlan(const Conv2dShape& shape, size_t most_floats);

    size_t points() const { return outputs + window - 1; }
    size_t elements() const { return points() * points(); }
    size_t matrices() const { return s.groups * elements(); }
    size_t image_tiles() const { return down * across; }
    size_t chunks() const { return (s.batch + chunk - 1) / chunk; }
    // Floats: V of the images of a chunk, M, and U.
    Size v_floats() const { return tile_floats() * s.in_channels; }
    Size m_floats() const { return tile_floats() * s.out_channels; }
    Size u_floats() const { return Size{elements()} * s.group_in() * s.out_channels; }

  private:
    Size tile_floats() const { return Size{elements()} * image_tiles() * chunk; }
};

// The convolution of dy with flipped weights that is the gradient of the input.
Conv2dShape flipped(const Conv2dShape& s);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_WINOGRAD_PLAN_CUH_
