// What the drivers of Winograd convolution share: how an output is cut into tiles, where the values
// of the tiles at each frequency lie, and the transforms of whole tiles.
//
// A frequency (i, j) is a pair of interpolation points (microkernels/winograd.cpp). At each of them
// the convolution is an ordinary matrix product over the channels: rows are tiles, columns are
// output channels.

#ifndef ALEXNET_CPU_WINOGRAD_H_
#define ALEXNET_CPU_WINOGRAD_H_

#include <atomic>
#include <cstddef>
#include <vector>

#include "alexnet/conv2d.h"
#include "gemm.h"

namespace alexnet::cpu::winograd {

constexpr size_t kPlaces = kWinogradPoints * kWinogradPoints;

// Floats from one row of a spectrum to the next, and beyond a frequency: no power of two, which
// would put all frequencies of a tile into the same set of the caches.
constexpr size_t kElementGap = 16;
constexpr size_t element_row(size_t channels) { return (channels + 15) / 16 * 16 + kElementGap; }

// One axis of the output, cut into tiles as even as they can be, the longer ones first: 13 outputs
// of a window of 3 are 5 + 4 + 4, never 6 + 6 + 1.
struct Axis {
    Axis() = default;
    Axis(size_t length, size_t window);

    size_t size(size_t tile) const { return base + (tile < longer ? 1 : 0); }
    size_t start(size_t tile) const { return tile * base + std::min(tile, longer); }
    size_t points(size_t tile) const { return size(tile) + window - 1; }
    size_t most_points() const { return points(0); }
    // Tiles that have point i: the first so many.
    size_t tiles_with(size_t i) const { return i < base + window - 1 ? tiles : longer; }

    size_t window, tiles, base, longer;
};

// The tiles of a batch, and their values ("spectra") at all frequencies: for frequency f a matrix
// with one row for each tile that has it. Rows of tiles are counted through the images: row p of
// image n is number n · vertical.tiles + p.
struct Tiling {
    Tiling(size_t out_height, size_t out_width, size_t window_height, size_t window_width)
        : vertical(out_height, window_height), horizontal(out_width, window_width) {}

    size_t elements() const { return vertical.most_points() * horizontal.most_points(); }
    size_t tiles() const { return vertical.tiles * horizontal.tiles; }
    // Those of the first `count` rows of tiles that have point i of the vertical axis.
    size_t rows_with(size_t i, size_t count) const {
        const size_t with = vertical.tiles_with(i);
        return count / vertical.tiles * with + std::min(count % vertical.tiles, with);
    }
    // Tiles in some rows of tiles that have frequency f.
    size_t tiles_with(size_t f, Range rows) const {
        const size_t i = f / horizontal.most_points(), j = f % horizontal.most_points();
        return (rows_with(i, rows.end) - rows_with(i, rows.begin)) * horizontal.tiles_with(j);
    }
    // Products of one pair of channels in one image; a direct convolution has window · outputs.
    size_t products() const;

    Axis vertical, horizontal;
};

// Where the tiles of a row have their values at all frequencies, one tile after the other: in
// matrices that begin with row `first` of tiles and have row_stride floats a row, element_stride
// floats apart. places[i * points of the horizontal axis + j] is that of frequency (i, j).
class TileElementPointers {
  public:
    TileElementPointers(const Tiling& tiling, size_t first, size_t row, float* transformed,
                        size_t row_stride, size_t element_stride);
    // Those of the next tile, until the next call.
    float* const* next();

  private:
    void set();

    const Tiling& t_;
    size_t first_, row_;
    float* transformed_;
    size_t row_stride_, element_stride_;
    size_t tile_ = 0, count_ = 0;
    float* places_[kPlaces];
};

// Where the outputs of the tiles of a row lie, or their gradients, one tile after the other: row by
// row. `y` begins with the channels that are meant.
template <typename Float>
class OutputPointers {
  public:
    OutputPointers(const Conv2dShape& shape, const Tiling& tiling, size_t row, Float* y)
        : vertical_(tiling.vertical),
          horizontal_(tiling.horizontal),
          row_(row % vertical_.tiles),
          pixel_(shape.out_channels),
          row_floats_(shape.out_width * shape.out_channels),
          next_(y + shape.output_pixel(row / vertical_.tiles, vertical_.start(row_), 0)) {}

    Float* const* next() {
        const size_t width = horizontal_.size(tile_++);
        Float** place = places_;
        for (size_t i = 0; i < vertical_.size(row_); ++i) {
            Float* pixel = next_ + i * row_floats_;
            for (size_t j = 0; j < width; ++j) *place++ = pixel + j * pixel_;
        }
        next_ += width * pixel_;
        return places_;
    }

  private:
    const Axis &vertical_, &horizontal_;
    size_t row_, pixel_, row_floats_, tile_ = 0;
    Float* next_;
    Float* places_[kPlaces];
};

// A transform of both axes. What is read next lies `ahead` floats further, or a few lines on.
struct Transform {
    WinogradStep vertical, horizontal;
    bool past = false;  // the caches, with what it writes: a stream_fence must follow
    size_t prefetch_distance = 48;
    // Whether what a transform to outputs makes is finite; true of the others.
    bool operator()(const float* const* in, size_t in_offset, size_t in_lanes, float* const* out,
                    size_t out_offset, size_t out_lanes, const float* bias = nullptr,
                    bool relu = false) const;
};

Transform input_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q);
Transform output_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q);
Transform output_gradient_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q);
Transform weight_transform(const KernelTable& k, const Tiling& t);
Transform weight_gradient_transform(const KernelTable& k, const Tiling& t);

// Whether the spectra of a batch are so few that each thread has all of them, and a transformed
// weight is used so seldom that it need not be stored: tasks are then panels of output channels.
// Depends on the shape alone.
bool few_images(size_t batch, const Tiling& tiling, size_t in_channels, size_t out_channels);

// A convolution that Winograd's algorithm can do, after space-to-depth where it has a stride: the
// s × s pixels of a block become channels of one pixel, and the window shrinks by s. A window of
// 11 × 11 × 3 with stride 4 is one of 3 × 3 × 48 with stride 1.
struct Problem {
    explicit Problem(const Conv2dShape& shape);

    size_t stride;
    size_t window_height, window_width;  // in blocks
    size_t group_in;                     // channels of a group, of a block
    Tiling tiling;
};

// Rows of tiles in a block of them whose spectra, of inputs and outputs, are at most `floats`, or
// one row. Blocks are as even as they can be, and depend on the shape alone.
size_t rows_a_block(const Conv2dShape& shape, const Problem& problem, size_t floats);

// Where the taps of one channel of a block lie in the weights; `elsewhere` for those that blocks
// have beyond the window.
template <typename Float>
void weight_pointers(const Conv2dShape& s, const Problem& p, Float* weight, Float* elsewhere,
                     size_t group, size_t channel, Float** places) {
    const size_t c = channel % s.group_in(), pixel = channel / s.group_in();
    const size_t pixel_row = pixel / p.stride, pixel_column = pixel % p.stride;
    for (size_t a = 0; a < p.window_height; ++a) {
        for (size_t b = 0; b < p.window_width; ++b) {
            const size_t kh = a * p.stride + pixel_row, kw = b * p.stride + pixel_column;
            const bool inside = kh < s.kernel_height && kw < s.kernel_width;
            const size_t row = (kh * s.kernel_width + kw) * s.group_in() + c;
            *places++ = inside ? weight + row * s.out_channels + group * s.group_out() : elsewhere;
        }
    }
}

// --- what is left to the direct algorithm -------------------------------------------------------
//
// An error of Winograd's transforms is relative to the largest value in the reach of a tile. That
// is the error of a sum in float32 only where all outputs of the tile see values of about that size
// (or nothing but zeros). What is further apart, or overflows on the way, is left to the direct
// algorithm; so is what is not finite to begin with, as it would spread over the tile. All of that
// depends on the values of one image and on the weights alone; a gradient of the weights, which
// sums over all images, is left as a whole.

// Share of the largest magnitude in a tile's reach that each of its windows must have.
constexpr float kLeastShare = 1.0f / 1024;

// The largest magnitudes of some pixels, over the channels of a group: a grid of rows × columns.
class PixelMagnitudes {
  public:
    // `grid` holds rows · columns floats, to be filled in.
    PixelMagnitudes(const KernelTable& k, float* grid, size_t rows, size_t columns)
        : k_(k), grid_(grid), rows_(rows), columns_(columns) {}

    float* row(size_t r) { return grid_ + r * columns_; }

    // Whether all pixels that are not 0 have their share of the largest: then all windows have it.
    bool all_alike() const { return k_.alike(rows_ * columns_, grid_, kLeastShare); }
    // Whether in some columns, a tile's, all windows have it.
    bool tile_is_alike(Range columns, size_t window_rows, size_t window_columns) const;

  private:
    float largest(Range rows, Range columns) const;

    const KernelTable& k_;
    float* grid_;
    size_t rows_, columns_;
};

// Images that are left to the direct algorithm. Several threads may add to them at once.
class Left {
  public:
    explicit Left(size_t images) : images_(images) {}

    void add(size_t image) { images_[image].store(true, std::memory_order_relaxed); }
    // body(images) for every run of neighbours.
    template <typename Body>
    void for_each_run(const Body& body) const {
        for (size_t end = 0; end < images_.size();) {
            const size_t begin = end;
            while (end < images_.size() && images_[end] == images_[begin]) ++end;
            if (images_[begin]) body(Range{begin, end});
        }
    }

  private:
    std::vector<std::atomic<bool>> images_;
};

// The weights of a convolution, or of its gradient with respect to the input: those of a
// convolution of the shape `s`, where they lie flipped by 180° and with input and output channels
// exchanged.
class Weights {
  public:
    // `zeros` holds out_channels floats that are 0.
    Weights(const KernelTable& k, const Conv2dShape& shape, const Problem& problem,
            const float* weight, bool flipped, const float* zeros)
        : k_(k), s_(shape), p_(problem), weight_(weight), flipped_(flipped), zeros_(zeros) {}

    // Channels that set_channels takes at most, and floats of the memory that it needs.
    static constexpr size_t kChannels = 16;
    Size memory_size(size_t columns) const;

    // Makes the weights of some input channels of a group ready, for some output channels. They are
    // copied to `memory`, tap by tap: all taps of a channel often lie a power of two apart, more of
    // them than a set of the caches holds. Taps of blocks stay where they are.
    void set_channels(size_t group, Range channels, Range columns, float* memory);
    // Where the taps of a channel that is ready lie, at the first of the output channels.
    void places(size_t channel, const float** places) const;

    // Fetches a part of what set_channels will read into L2.
    void fetch(size_t group, Range channels, Range columns, size_t parts, size_t index) const;

  private:
    // Where weights of one tap begin and neighbours follow.
    const float* row(size_t tap, size_t group, size_t channel, size_t column) const;

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    const float* weight_;
    bool flipped_;
    const float* zeros_;
    size_t tap_size_ = 0;  // floats from tap to tap in memory_
    size_t group_ = 0;
    Range channels_{}, columns_{};
    float* memory_ = nullptr;
};

// Neighbouring floats in memory.
struct Run {
    const float* begin;
    size_t size;
};

// Fetches a run into L2, a share at a time: what is read next comes while something is computed.
class Prefetcher {
  public:
    Prefetcher(Run run, size_t shares)
        : next_(run.begin), end_(run.begin + run.size), share_(ceil_div(run.size, 16 * shares)) {}

    void next_share() {
        for (size_t line = 0; line < share_ && next_ < end_; ++line, next_ += 16) {
            __builtin_prefetch(next_, 0, 2);
        }
    }

  private:
    const float* next_;
    const float* end_;
    size_t share_;  // lines
};

// The input of a task: pixels of blocks where a tile can point at them, 0 outside the image.
class Source {
  public:
    // `frame` holds frame_size(shape, problem) floats, `zeros` group_in of them that are 0.
    Source(const KernelTable& k, const Conv2dShape& shape, const Problem& problem, const float* x,
           float* frame, const float* zeros)
        : k_(k), s_(shape), p_(problem), x_(x), frame_(frame), zeros_(zeros) {}

    // The frame, and a magnitude for each of its pixels.
    static Size frame_size(const Conv2dShape& shape, const Problem& problem);

    // Makes a row of tiles ready, counted through the images.
    void set_tile_row(size_t row);
    // The pixels of some rows of tiles, from the first to the last.
    Run pixels(Range rows) const;
    // The inputs of tile q in the row that is ready, for channels of one group.
    void places(size_t q, size_t group, const float** places) const;
    // Whether the magnitudes in each tile of the row that is ready are alike, of one group.
    bool is_alike(size_t group) const;

  private:
    // A row of pixels to where its blocks have it.
    void copy_pixel_row(const float* row, float* target) const;

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    const float* x_;
    float* frame_;
    const float* zeros_;
    const float* image_ = nullptr;
    size_t tile_row_ = 0;   // in the image
    size_t first_row_ = 0;  // of its blocks
};

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_H_
