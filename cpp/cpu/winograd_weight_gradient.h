// The steps of the gradient of a convolution with respect to its weights by Winograd's algorithm.
// With V and M of the forward convolution (winograd_tiling.h), dM is the gradient of M and dU that
// of U = G · g · Gᵀ:
//
//     V  = Bᵀ · d · B                  d:  input of a tile
//     dM = A · dY · Aᵀ                 dY: gradient of its outputs
//     dU = Vᵀ · dM                     at each tile element: in × out, a sum over the tiles
//     dg = Gᵀ · dU · G
//
// V and dM of a block of rows of tiles lie in panels of channels, so that the micro-kernel reads
// neighbouring cache lines:
//
//     V(i, j)                            dM(i, j)                       dU(i, j)
//     panel 0      panel 1               panel 0     panel 1            out channels ->
//     channels     channels              channels    channels        in +-------------+
//     +--------+   +--------+            +-------+   +-------+       |  |             |
//     | tile 0 |   | tile 0 |            |tile 0 |   |tile 0 |       v  | += Vᵀ · dM  |
//     | tile 1 |   | tile 1 |     x      |tile 1 |   |tile 1 |  --->    |             |
//     |  ...   |   |  ...   |            | ...   |   | ...   |          +-------------+
//     +--------+   +--------+            +-------+   +-------+       of all blocks so far
//     A, read by columns                 B, packed already           C
//
// dbias is a sum of dM: in the row of A at the point 1 all powers are 1, so dM at the tile element
// of the points (1, 1) is the sum of dY over the tile.

#ifndef ALEXNET_CPU_WINOGRAD_WEIGHT_GRADIENT_H_
#define ALEXNET_CPU_WINOGRAD_WEIGHT_GRADIENT_H_

#include "scratch.h"
#include "winograd_input.h"

namespace alexnet::cpu::winograd {

class WeightGradient {
  public:
    WeightGradient(const KernelTable& k, const Conv2dShape& shape, const Problem& problem,
                   size_t block_rows);

    // Floats of V and dM of a block, and of dU, for one group.
    Size tile_floats() const {
        return padded(elements() * (Size{v_strides_.element} + dm_strides_.element));
    }
    Size du_floats() const { return padded(elements() * Size{du_strides_.element}); }

    size_t panels() const { return out_panels_.count; }  // of output channels

    // The tile element (1, 1), and whether all tiles have it, so that dbias is a sum of its dM.
    size_t bias_element() const;
    bool has_bias() const;

    // V of one row of a block's rows of tiles, of a group. Prefetches the pixels of the row after
    // it. Returns whether the values of each tile are alike (winograd_guard.h).
    bool transform_input(TileInput& input, Range block, size_t row, size_t group,
                         float* tiles) const;
    // dM, likewise. `memory` is for magnitudes and as large as a TileInput's.
    bool transform_output_gradient(Range block, size_t row, size_t group, const float* dy,
                                   float* memory, float* tiles) const;
    // Adds a block's products at element e, for a panel of output channels, to dU. The first block,
    // whose first tile has all elements, sets it.
    void multiply(size_t e, size_t panel, Range block, const float* tiles, float* du) const;
    // Adds a block's dM of a panel to the sums of dbias, one for each channel.
    void add_bias(size_t panel, Range block, const float* tiles, double* sums) const;
    // dg of one input channel, after space to depth, from dU; `sink` takes the taps that blocks
    // have beyond the window. Returns whether all of it is finite.
    bool transform_weight_gradient(const float* du, size_t group, size_t channel, float* sink,
                                   float* dweight) const;

  private:
    size_t elements() const { return p_.tiling.elements(); }
    size_t v_floats() const { return elements() * v_strides_.element; }
    // A panel of dM at element e.
    const float* dm_panel(size_t e, size_t panel, const float* tiles) const {
        return tiles + v_floats() + e * dm_strides_.element + panel * tiles_ * out_panels_.width;
    }
    // Where a channel lies in the matrix of an element, whose panels are `width` wide.
    size_t panel_offset(size_t channel, size_t width) const {
        return channel / width * tiles_ * width + channel % width;
    }
    bool gradients_are_alike(size_t row, size_t group, const float* dy, float* grid) const;
    // What a row of tiles, or none, reads of dy.
    std::span<const float> output_floats(Range row, const float* dy) const;

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    size_t tiles_;     // of a block
    size_t in_panel_;  // width of V's panels
    Panels out_panels_;
    ElementStrides v_strides_, dm_strides_, du_strides_;
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_WEIGHT_GRADIENT_H_
