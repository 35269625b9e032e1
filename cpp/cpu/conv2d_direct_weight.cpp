// Gradient of a convolution with respect to its weights, as an implicit matrix product:
//
//   dweight[kh,kw,c,o] = sum over n, oh, ow of
//                        x[n, oh·stride + kh - pad, ow·stride + kw - pad, c] · dy[n,oh,ow,o]
//
//     A, transposed: x                      B: dy                     C: dweight
//
//     pixel 0  [kh, kw, c ->  ]             pixel 0  [o ->   ]        kh, kw, c  [o ->   ]
//     pixel 1     [kh, kw, c ->  ]    x     pixel 1  [o ->   ]  --->  |          [       ]
//     ...                                   ...                       v          [       ]
//     K: output pixels, a window each       packed into panels        M: window  N: output channels
//
// For one row kh of the window the elements kw, c are contiguous in the image, or in a copy of a
// group's channels. They are rows of C; some of them, at most kBlockRows, are a *tile*. For
// kBlockPixels pixels at a time the elements of x that a tile multiplies are copied into a small
// block, which serves all output channels: at their own distance, a whole pixel, they would fall
// into few sets of the L1 cache. Pixels of a few channels are read in place.
//
// dy is packed unless one panel has all of its channels. Narrow groups take vectors across groups:
// docs/kernels/depthwise.md.
//
// Cost: 2 · outputs · window FLOP: bound by the FMA units.
// Loops (docs/kernels/gemm.md), outermost first; loops in parentheses are shared by the threads:
//   by_rows   pc: blocks of images, whose dy is packed  (ic: ranges of tiles)
//             pc: blocks of pixels  ic: tiles  jr  ir
//   by_parts  (pc: parts of the images)  pc: images, blocks of pixels  ic: tiles  jr  ir
// by_parts is for a small dweight, which has few tiles to share: each part has a C of its own.
// Numerics: chains over at most kBlockPixels pixels, summed in order, then parts of the images in
// order; the shape alone decides what they are, so the bits are the same for every number of
// threads.

#include <array>

#include "column_sums.h"
#include "conv2d.h"
#include "depthwise_rows.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "window_copy.h"

namespace alexnet::cpu::direct {
namespace {

constexpr size_t kBlockFloats = 2 << 20;  // of frames and panels of the images at hand
constexpr size_t kBlockPixels = 256;      // of one block of x: 256 × 16 floats, a third of L1
constexpr size_t kPackedAtOnce = 64;      // pixels, of all channels
constexpr size_t kMostParts = 16, kFewestImages = 4;  // where images are cut into parts
constexpr size_t kSumGrain = 1 << 12;                 // of dweight, that a thread adds up at least
constexpr size_t kSmallWeights = 64 << 10;  // floats, at most, of a dweight that each part has

// What a task needs for itself; nothing may be allocated in a parallel region.
struct Workspace {
    float* block;                                    // kBlockPixels rows of a tile of x
    std::array<GemmSegment, kBlockPixels> segments;  // the depth of a block: one a pixel at most
};
Size block_size() { return Size{kBlockPixels} * padded(kBlockRows); }

// What every task of one call shares.
struct Plan {
    Plan(const KernelTable& k, const Conv2dShape& s)
        : shape(s),
          frame(frame_for(s.in_height, s.in_width, s.in_channels, s.groups, s.pad_top, s.pad_left,
                          (s.out_height - 1) * s.stride_height + s.kernel_height,
                          (s.out_width - 1) * s.stride_width + s.kernel_width)),
          pixels(s.out_height * s.out_width),
          panels(k, s.group_out()),
          panel_size(pixels * panels.width),
          dy_is_panel(s.groups == 1 && panels.width == s.out_channels),
          packed_size(dy_is_panel ? 0 : s.groups * panels.count * panel_size),
          chunks(dy_is_panel ? 0 : ceil_div(pixels, kPackedAtOnce)),
          image_size(s.in_height * s.in_width * s.in_channels),
          frame_size(frame.is_image() ? image_size : size_t{padded(frame.size())}),
          pixel_step(s.stride_width * s.group_in()),
          images(std::clamp<size_t>(
              kBlockFloats / (panels.size(pixels) * s.groups + frame_size * s.groups), 1, s.batch)),
          row_size(s.kernel_width * s.group_in()),
          row_tiles(ceil_div(row_size, kBlockRows)),
          tiles(s.groups * s.kernel_height * row_tiles) {}

    const Conv2dShape& shape;
    Frame frame;
    size_t pixels;
    Panels panels;
    size_t panel_size;
    bool dy_is_panel;               // as it lies: it need not be packed
    size_t packed_size;             // floats of an image's panels, if they are packed
    size_t chunks;                  // of an image's pixels, packed one after the other
    size_t image_size, frame_size;  // the frame of a group
    size_t pixel_step;              // floats in a frame from one output's element to the next one's
    size_t images;                  // framed and packed at once
    // Rows of the window, contiguous in a frame and in dweight: how long, in how many tiles each,
    // and the tiles of all groups.
    size_t row_size, row_tiles, tiles;
};

// A tile of dweight: a part of one row of the window of a group.
struct Tile {
    Tile(const Plan& p, size_t index)
        : group(index / (p.shape.kernel_height * p.row_tiles)),
          row(index / p.row_tiles % p.shape.kernel_height),
          elements(part(p.row_size, p.row_tiles, index % p.row_tiles)) {}
    size_t group, row;
    Range elements;
};

// Some output pixels of one image, at most kBlockPixels.
struct PixelBlock {
    const float* frame;   // of the image, those of all groups
    const float* packed;  // panels of its dy, of all groups
    Range pixels;
    bool is_first;  // of all that are summed: sets C instead of adding to it
    // What is prefetched into L2, so many floats for each pixel; null for nothing.
    const float* prefetch_from = nullptr;
    size_t prefetch_floats = 0;
};

// Adds what some pixels contribute to one tile of dweight.
void add_tile(const KernelTable& k, const Plan& p, const Tile& tile, const PixelBlock& pixels,
              Workspace& workspace, float* dweight) {
    const Conv2dShape& s = p.shape;
    const size_t begin = pixels.pixels.begin, depth = pixels.pixels.size();
    const float* x = pixels.frame + tile.group * p.frame_size +
                     tile.row * p.frame.columns * s.group_in() + tile.elements.begin;
    const bool in_place = p.pixel_step <= kLineFloats;
    const size_t block_row = padded(kBlockRows);
    size_t count = 0;
    for (size_t i = 0; i < depth;) {
        const size_t oh = (begin + i) / s.out_width, ow = (begin + i) % s.out_width;
        const size_t pixel = oh * s.stride_height * p.frame.columns + ow * s.stride_width;
        const size_t in_row = std::min(s.out_width - ow, depth - i);
        if (in_place) {
            const float* prefetch_from =
                pixels.prefetch_from ? pixels.prefetch_from + i * pixels.prefetch_floats : nullptr;
            workspace.segments[count++] = {
                .offset = pixel * s.group_in(), .depth = in_row, .prefetch_from = prefetch_from};
        } else {
            k.copy_rows(in_row, tile.elements.size(), x + pixel * s.group_in(), p.pixel_step,
                        workspace.block + i * block_row, block_row);
        }
        i += in_row;
    }
    if (!in_place) {
        workspace.segments[count++] = {
            .offset = 0, .depth = depth, .prefetch_from = pixels.prefetch_from};
    }
    const Product product{.rows = tile.elements.size(),
                          .a = in_place ? x : workspace.block,
                          .row_stride = 1,
                          .depth_stride = in_place ? p.pixel_step : block_row,
                          .width = p.panels.width,
                          .c = dweight +
                               (tile.row * p.row_size + tile.elements.begin) * s.out_channels +
                               tile.group * s.group_out(),
                          .c_row = s.out_channels};
    for (size_t panel = 0; panel < p.panels.count; ++panel) {
        multiply_panel(
            k, product,
            {.segments = workspace.segments.data(), .segment_count = count, .begin = begin},
            pixels.packed + (tile.group * p.panels.count + panel) * p.panel_size, p.panels[panel],
            {.accumulate = !pixels.is_first});
    }
}

// The frames of all groups of an image.
void copy_frames(const KernelTable& k, const Plan& p, const float* image, float* frames) {
    copy_group_rows(k, p.frame, image, 0, p.frame.rows, frames, p.frame_size);
}

// Some pixels of an image of dy into all panels: few, so that dy is read from front to back.
void pack_pixels(const KernelTable& k, const Plan& p, const float* dy, size_t n, size_t chunk,
                 float* packed) {
    const Conv2dShape& s = p.shape;
    const Range pixels = part(p.pixels, p.chunks, chunk);
    for (size_t i = 0; i < s.groups * p.panels.count; ++i) {
        const Range columns = p.panels[i % p.panels.count];
        const size_t channel = i / p.panels.count * s.group_out() + columns.begin;
        const size_t first = (n * p.pixels + pixels.begin) * s.out_channels + channel;
        pack_panel(k, pixels.size(), columns.size(), dy + first, s.out_channels,
                   packed + i * p.panel_size + pixels.begin * p.panels.width, p.panels.width);
    }
}

// A block of images at a time, whose dy every task reads.
void by_rows(const KernelTable& k, const Plan& p, const float* dy, const float* x, float* dweight,
             float* dbias) {
    const Conv2dShape& s = p.shape;
    column_sums(s.batch * p.pixels, s.out_channels, dy, dbias);
    const int threads = num_threads();
    const bool in_place = p.frame.is_image();
    float* frames =
        scratch(Slot::kPaddedImages, in_place ? Size{0} : Size{p.images} * s.groups * p.frame_size);
    float* packed = scratch(Slot::kPackedPanels, Size{p.images} * p.packed_size);
    const Slices blocks(Slot::kThreadOperand, static_cast<size_t>(threads), block_size());

    // More tasks than threads, to balance them, but few: each passes over all of dy.
    const size_t tasks = std::min(p.tiles, 4 * static_cast<size_t>(threads));
    for (size_t first = 0; first < s.batch; first += p.images) {
        const size_t images = std::min(p.images, s.batch - first);
        const size_t frame_tasks = in_place ? 0 : images;
        const size_t pack_tasks = images * p.chunks;
        parallel_tasks(threads, frame_tasks + pack_tasks, [&](size_t t, size_t) {
            if (t < frame_tasks) {
                copy_frames(k, p, x + (first + t) * p.image_size,
                            frames + t * s.groups * p.frame_size);
                return;
            }
            const size_t i = (t - frame_tasks) / p.chunks;
            pack_pixels(k, p, dy, first + i, (t - frame_tasks) % p.chunks,
                        packed + i * p.packed_size);
        });
        const float* source = in_place ? x + first * p.image_size : frames;
        parallel_tasks(threads, tasks, [&](size_t t, size_t thread) {
            const Range own = part(p.tiles, tasks, t);
            Workspace workspace;
            workspace.block = blocks[thread];
            for (size_t n = 0; n < images; ++n) {
                for (size_t begin = 0; begin < p.pixels; begin += kBlockPixels) {
                    const PixelBlock pixels{
                        .frame = source + n * s.groups * p.frame_size,
                        .packed = p.dy_is_panel ? dy + s.output_pixel(first + n, 0, 0)
                                                : packed + n * p.packed_size,
                        .pixels = {begin, std::min(begin + kBlockPixels, p.pixels)},
                        .is_first = first + n + begin == 0};
                    for (size_t tile = own.begin; tile < own.end; ++tile) {
                        add_tile(k, p, Tile(p, tile), pixels, workspace, dweight);
                    }
                }
            }
        });
    }
}

// Parts of the images, each with a dweight and a dbias of its own; then these are added up. dy is
// read once, image by image, while the one before is multiplied.
void by_parts(const KernelTable& k, const Plan& p, const float* dy, const float* x, float* dweight,
              float* dbias) {
    const Conv2dShape& s = p.shape;
    const int threads = num_threads();
    const bool in_place = p.frame.is_image();
    const size_t parts = std::min(kMostParts, s.batch);
    const Size frame_size = in_place ? Size{0} : Size{s.groups} * p.frame_size;
    const Size packed_size = padded(Size{p.packed_size});
    const Slices sums(Slot::kGradientSums, parts, s.weight_size());
    const Slices memory(Slot::kThreadMemory, std::min(static_cast<size_t>(threads), parts),
                        packed_size + frame_size + block_size());
    const size_t width = p.panels.width, group_bias = p.panels.count * width;
    const size_t bias_size = s.groups * group_bias;
    double* bias_sums = scratch_doubles(Slot::kDoubleSums, Size{parts} * bias_size);
    std::fill_n(bias_sums, parts * bias_size, 0.0);
    parallel_tasks(threads, parts, [&](size_t task, size_t thread) {
        const Range images = part(s.batch, parts, task);
        float* frame = memory[thread];
        float* packed_memory = frame + frame_size;
        Workspace workspace;
        workspace.block = packed_memory + packed_size;
        for (size_t n = images.begin; n < images.end; ++n) {
            const float* image = x + n * p.image_size;
            if (!in_place) copy_frames(k, p, image, frame);
            for (size_t chunk = 0; chunk < p.chunks; ++chunk) {
                pack_pixels(k, p, dy, n, chunk, packed_memory);
            }
            const float* packed = p.dy_is_panel ? dy + s.output_pixel(n, 0, 0) : packed_memory;
            for (size_t i = 0; i < s.groups * p.panels.count; ++i) {
                const float* panel = packed + i * p.panel_size;
                double panel_sums[kWidestPanel];
                k.sum_rows(p.pixels, width, panel, width, panel_sums);
                double* bias = bias_sums + task * bias_size + i * width;
                for (size_t j = 0; j < width; ++j) bias[j] += panel_sums[j];
            }
            // Each tile prefetches a share of the next image's dy.
            const float* next = n + 1 < images.end ? dy + s.output_pixel(n + 1, 0, 0) : nullptr;
            const size_t share = ceil_div(s.out_channels, p.tiles);
            for (size_t begin = 0; begin < p.pixels; begin += kBlockPixels) {
                PixelBlock pixels{.frame = in_place ? image : frame,
                                  .packed = packed,
                                  .pixels = {begin, std::min(begin + kBlockPixels, p.pixels)},
                                  .is_first = n == images.begin && begin == 0,
                                  .prefetch_from = next ? next + begin * s.out_channels : nullptr,
                                  .prefetch_floats = share};
                for (size_t tile = 0; tile < p.tiles; ++tile) {
                    add_tile(k, p, Tile(p, tile), pixels, workspace, sums[task]);
                    if (next) pixels.prefetch_from += pixels.pixels.size() * share;
                }
            }
        }
    });
    parallel_for(s.weight_size(), kSumGrain, [&](size_t begin, size_t end) {
        k.copy(end - begin, sums[0] + begin, dweight + begin);
        const float one = 1.0f;
        for (size_t i = 1; i < parts; ++i) {
            k.add_weighted_rows(1, end - begin, &one, sums[i] + begin, 0, dweight + begin);
        }
    });
    for (size_t o = 0; o < s.out_channels; ++o) {
        const size_t group = o / s.group_out();
        double sum = 0.0;
        for (size_t i = 0; i < parts; ++i) {
            sum += bias_sums[i * bias_size + group * group_bias + o % s.group_out()];
        }
        dbias[o] = static_cast<float>(sum);
    }
}

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    const KernelTable& k = kernels();
    const depthwise::Groups groups{.count = s.groups, .in = s.group_in(), .out = s.group_out()};
    // A register tile is a row of the window high, the chains of a depthwise tile are several rows.
    constexpr size_t kFewChains = 8;
    const bool few_chains =
        s.out_channels <= k.lanes && s.kernel_width * s.in_channels < kFewChains;
    if (few_chains || depthwise::suits(k, groups, s.window())) {
        return depthwise::backward_weight(s, dy, x, dweight, dbias);
    }
    const Plan p(k, s);
    const bool cut = s.weight_size() <= kSmallWeights && s.batch >= kFewestImages;
    (cut ? by_parts : by_rows)(k, p, dy, x, dweight, dbias);
}

}  // namespace alexnet::cpu::direct
