// The three steps of a convolution by Winograd's algorithm, for the tiles and channels that a
// schedule (conv2d_winograd.cpp) names.
//
//     x                    V                      M                     y
//     +---+---+---+        (i, j): tiles × in     (i, j): tiles × out   +---+---+---+
//     | d | d | d |        +-------------+        +-------------+       | Y | Y | Y |
//     +---+---+---+ -----> |             | -----> |             | ----> +---+---+---+
//     | d | d | d |  input |   rows of   | times  |   rows of   | output| Y | Y | Y |
//     +---+---+---+        |    tiles    | U(i, j)|    tiles    |       +---+---+---+
//                          +-------------+        +-------------+
//     transform_input       multiply: one panel    transform_output
//     one row of tiles      of U, one (i, j)       one row of tiles

#ifndef ALEXNET_CPU_WINOGRAD_CONVOLUTION_H_
#define ALEXNET_CPU_WINOGRAD_CONVOLUTION_H_

#include "winograd_choice.h"
#include "winograd_guard.h"
#include "winograd_input.h"
#include "winograd_weights.h"

namespace alexnet::cpu::winograd {

struct Operands {
    const float* x;
    const float* weight;
    bool flipped = false;  // y is the input gradient of the convolution that has these weights
    const float* bias = nullptr;
    bool relu = false;
    float* y;
    const float* prepared = nullptr;  // U, if it is computed already
};

// The product of some rows of tiles at one tile element with one panel of U.
struct PanelProduct {
    size_t element;
    Range rows;           // of tiles; the matrices begin with the first
    size_t depth;         // input channels, from the first that V and the panel begin with
    bool resume = false;  // M holds the sums over the channels before these
    Range columns;        // of M
    const float* u;       // the panel
    // B's prefetch: into L2 from so many floats further on; 0 for none.
    size_t prefetch_distance = 0;
};

struct Convolution {
    Convolution(const Conv2dShape& shape, const Operands& operands);
    Convolution(const Convolution&) = delete;
    Convolution& operator=(const Convolution&) = delete;

    // `memory` holds TileInput::memory_size floats.
    TileInput input_in(float* memory) const {
        return {k, shape, problem, operands.x, memory, zeros};
    }

    // V of one row of `rows` of tiles, of a group. Prefetches the pixels of the row after it.
    void transform_input(TileInput& input, size_t group, Range rows, size_t row,
                         const ElementMatrices& v);
    void multiply(const PanelProduct& product, const ElementMatrices& v,
                  const ElementMatrices& m) const;
    // The outputs of a row of tiles, of some channels of a group, from M of these channels, whose
    // matrices begin with row `first_row` of tiles.
    void transform_output(size_t first_row, size_t row, size_t group, Range columns,
                          const ElementMatrices& m);

    const KernelTable& k;
    const Conv2dShape& shape;
    const Problem problem;
    const size_t elements;   // of a tile
    const size_t rows;       // of tiles, in all images
    const size_t row_tiles;  // tiles in one of them
    const int threads;
    const size_t team;  // the same number
    const Schedule schedule;
    const Panels panels;  // of the output channels of a group
    const Operands operands;
    const float* const zeros;  // as many as a pixel, or a row of weights, has channels
    const Weights weights;
    RejectedImages rejected;
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_CONVOLUTION_H_
