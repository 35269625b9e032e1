// How Winograd's algorithm cuts a convolution into tiles, and where the transformed tiles lie.
//
// An axis of the output is cut into tiles as even as they can be, the longer ones first. A tile of
// m outputs sees m + window - 1 inputs and has as many interpolation points. 13 outputs of a
// window of 3 are 5 + 4 + 4, never 6 + 6 + 1:
//
//     outputs   0 1 2 3 4|5 6 7 8|9 . . 12
//     tile 0    0 . . . . . 6                     inputs, from the first that output 0 sees
//     tile 1              5 . . . . 10
//     tile 2                      9 . . . . 14
//
// A transformed tile has one value a channel at each tile element (i, j), a pair of interpolation
// points. Element (i, j) of all tiles is one matrix, so that the convolution is there a matrix
// product over the channels:
//
//     V          (0, 0)          (0, 1)                 (6, 6)
//             channels ->     channels ->            channels ->
//     tile 0  . . . . . .     . . . . . .     ...    . . . . . .
//     tile 1  . . . . . .     . . . . . .            and no tile of 6 points
//     tile 2  . . . . . .     . . . . . .
//     ...     <-- row --->
//             <--- element --><--- element -->       distances in floats: ElementStrides
//
// The points of a small tile are the first of a large one's (microkernels/winograd_matrices.h), so
// each matrix has the tiles with that element in order and without gaps. Elements are numbered
// e = i · (points of the largest tile of the horizontal axis) + j. Rows of tiles are numbered
// through the images: row p of image n is n · vertical.tiles + p.

#ifndef ALEXNET_CPU_WINOGRAD_TILING_H_
#define ALEXNET_CPU_WINOGRAD_TILING_H_

#include <algorithm>
#include <cstddef>

#include "alexnet/conv2d.h"
#include "gemm.h"
#include "scratch.h"

namespace alexnet::cpu::winograd {

// Elements of a tile at most: the length of a table of pointers to them.
constexpr size_t kTileElements = kWinogradPoints * kWinogradPoints;
// Outputs of a tile along an axis at most, and taps of a window: the limit of winograd_step.
constexpr size_t kMostValues = 6;
// Floats that are left free after a row of channels and after a matrix. Without them the distances
// are often powers of two, and all elements of a tile meet in one set of the L1 cache.
constexpr size_t kConflictPadding = kLineFloats;

// One axis of the output, cut into tiles.
struct Axis {
    Axis(size_t length, size_t window);

    size_t size(size_t tile) const { return base + (tile < longer ? 1 : 0); }
    size_t start(size_t tile) const { return tile * base + std::min(tile, longer); }
    size_t points(size_t tile) const { return size(tile) + window - 1; }
    size_t most_points() const { return points(0); }
    // How many tiles have point i: they are the first ones.
    size_t tiles_with(size_t i) const { return i < base + window - 1 ? tiles : longer; }

    size_t window, tiles;
    size_t base, longer;  // outputs of the shorter tiles, and how many have one more
};

// The tiles of an image, as the product of two axes.
struct Tiling {
    Tiling(size_t out_height, size_t out_width, size_t window_height, size_t window_width)
        : vertical(out_height, window_height), horizontal(out_width, window_width) {}

    size_t elements() const { return vertical.most_points() * horizontal.most_points(); }
    size_t tiles() const { return vertical.tiles * horizontal.tiles; }
    // How many of the first `count` rows of tiles have point i of the vertical axis.
    size_t rows_with(size_t i, size_t count) const {
        const size_t with = vertical.tiles_with(i);
        return count / vertical.tiles * with + std::min(count % vertical.tiles, with);
    }
    // How many tiles of some rows of tiles have element e.
    size_t tiles_with(size_t e, Range rows) const {
        const size_t i = e / horizontal.most_points(), j = e % horizontal.most_points();
        return (rows_with(i, rows.end) - rows_with(i, rows.begin)) * horizontal.tiles_with(j);
    }
    // Multiplications for one pair of channels in one image; a direct convolution has as many as
    // window · outputs.
    size_t products() const;

    Axis vertical, horizontal;
};

// A convolution as the tiles see it: after space to depth, where it has a stride. The s × s pixels
// of a block become the channels of one pixel, and the window shrinks by s: 11 × 11 × 3 with stride
// 4 is 3 × 3 × 48 with stride 1.
struct Problem {
    explicit Problem(const Conv2dShape& shape);

    size_t stride;                       // s
    size_t window_height, window_width;  // in blocks
    size_t group_in;                     // input channels of a group, in a block
    Tiling tiling;
};

// Rows of tiles in a block of them whose V and M are at most `floats`, or one row. Blocks are as
// even as they can be, and depend on nothing else.
size_t rows_per_block(const Conv2dShape& shape, const Problem& problem, size_t floats);

// Floats from tile to tile within the matrix of an element, and from element to element.
struct ElementStrides {
    size_t row, element;
};
constexpr size_t row_stride(size_t channels) { return padded(channels) + kConflictPadding; }
inline ElementStrides element_strides(size_t tiles, size_t channels) {
    return {.row = row_stride(channels),
            .element = Size{tiles} * row_stride(channels) + kConflictPadding};
}

// V or M: a matrix for each tile element.
struct ElementMatrices {
    float* begin;
    ElementStrides strides;

    float* operator[](size_t e) const { return begin + e * strides.element; }
    // The same from the given row of each matrix on.
    ElementMatrices from_row(size_t row) const { return {begin + row * strides.row, strides}; }
};

// Pointers to the elements of a tile, one tile after the other along a row of tiles, in matrices
// that begin with row `first_row` of tiles.
class ElementPointers {
  public:
    ElementPointers(const Tiling& tiling, size_t first_row, size_t row,
                    const ElementMatrices& matrices)
        : tiling_(tiling), first_row_(first_row), row_(row), matrices_(matrices) {}
    // Those of the next tile, element (i, j) at i · (points of the tile's horizontal axis) + j;
    // valid until the next call.
    float* const* next();

  private:
    void find();

    const Tiling& tiling_;
    size_t first_row_, row_;
    ElementMatrices matrices_;
    size_t tile_ = 0, count_ = 0;
    float* pointers_[kTileElements];
};

// Pointers to the outputs of a tile, or their gradients, row by row, one tile after the other along
// a row of tiles. `y` begins with the first channel that is wanted.
template <typename Float>
class OutputPointers {
  public:
    OutputPointers(const Conv2dShape& shape, const Tiling& tiling, size_t row, Float* y)
        : vertical_(tiling.vertical),
          horizontal_(tiling.horizontal),
          row_(row % vertical_.tiles),
          pixel_floats_(shape.out_channels),
          row_floats_(shape.out_width * shape.out_channels),
          next_(y + shape.output_pixel(row / vertical_.tiles, vertical_.start(row_), 0)) {}

    // Those of the next tile, valid until the next call.
    Float* const* next() {
        const size_t width = horizontal_.size(tile_++);
        Float** pointer = pointers_;
        for (size_t i = 0; i < vertical_.size(row_); ++i) {
            Float* pixel = next_ + i * row_floats_;
            for (size_t j = 0; j < width; ++j) *pointer++ = pixel + j * pixel_floats_;
        }
        next_ += width * pixel_floats_;
        return pointers_;
    }

  private:
    const Axis &vertical_, &horizontal_;
    size_t row_, pixel_floats_, row_floats_, tile_ = 0;
    Float* next_;
    Float* pointers_[kTileElements];
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_TILING_H_
