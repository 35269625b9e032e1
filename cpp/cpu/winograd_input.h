// The input of the tiles: pixels in x where a transform can point at them, and zeros outside the
// image.
//
//     stride 1: pointers into x itself           stride s: a copy, space to depth
//
//     zeros <- - - - - - -                       memory: one row of tiles
//              : pad     :                       +--------+--------+--------+--
//              :  +------:----------             | block  | block  | block  |    s·s·channels
//              :  | tile :                       +--------+--------+--------+--  floats each
//              - -|- - - -                       |        |        |        |
//                 |          image x             +--------+--------+--------+--
//                 |                              | a magnitude for each block, for
//                                                | winograd_guard.h

#ifndef ALEXNET_CPU_WINOGRAD_INPUT_H_
#define ALEXNET_CPU_WINOGRAD_INPUT_H_

#include <span>

#include "winograd_tiling.h"

namespace alexnet::cpu::winograd {

// Prefetches floats into L2, an equal share at each step of a computation on other data.
class Prefetcher {
  public:
    Prefetcher(std::span<const float> floats, size_t shares)
        : next_(floats.data()),
          end_(floats.data() + floats.size()),
          share_lines_(ceil_div(floats.size(), kLineFloats * shares)) {}

    void next_share() {
        for (size_t line = 0; line < share_lines_ && next_ < end_; ++line, next_ += kLineFloats) {
            __builtin_prefetch(next_, 0, 2);
        }
    }

  private:
    const float* next_;
    const float* end_;
    size_t share_lines_;
};

class TileInput {
  public:
    // `memory` holds memory_size(shape, problem) floats, `zeros` group_in of them that are 0.
    TileInput(const KernelTable& k, const Conv2dShape& shape, const Problem& problem,
              const float* x, float* memory, const float* zeros)
        : k_(k), s_(shape), p_(problem), x_(x), memory_(memory), zeros_(zeros) {}

    // The blocks of a row of tiles, where there is a stride, and a magnitude for each pixel.
    static Size memory_size(const Conv2dShape& shape, const Problem& problem);

    // Makes a row of tiles ready, numbered through the images.
    void set_tile_row(size_t row);
    // What some rows of tiles read of x, from the first to the last.
    std::span<const float> floats(Range rows) const;
    // Pointers to the points of tile q in the row that is ready, for the channels of one group.
    void pointers(size_t q, size_t group, const float** pointers) const;
    // Whether the magnitudes in each tile of the row that is ready are alike, of one group.
    bool is_alike(size_t group) const;

  private:
    // Copies a row of pixels to where its blocks have it.
    void copy_pixel_row(const float* row, float* target) const;
    // Pixels that a row of tiles sees, side by side.
    size_t columns() const { return s_.out_width + p_.window_width - 1; }

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    const float* x_;
    float* memory_;
    const float* zeros_;
    const float* image_ = nullptr;  // of the row that is ready
    size_t tile_row_ = 0;           // in that image
    size_t first_row_ = 0;          // of its pixels, or blocks, counted from the padding's edge
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_INPUT_H_
