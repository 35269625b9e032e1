// Gradient of a convolution with respect to its weights, as an implicit matrix product:
//
//   dweight[kh,kw,c,o] = sum over n, oh, ow of
//                        x[n, oh·stride + kh - pad, ow·stride + kw - pad, c] · dy[n,oh,ow,o]
//
// The rows of the product are the elements kh, kw, c of the window, its summation index runs over
// the output pixels. For one row kh of the window the elements kw, c are contiguous in the image
// (with groups: the channels of one tap). A few images at a time are framed and their dy packed
// into panels; then, for some rows of dweight at a time, the elements of x that they multiply are
// copied into a small block (at their own distance, a whole pixel, they would fall into few sets of
// the L1 cache), which serves all output channels. Pixels of a few channels are read in place.
//
// Cost: 2 · outputs · window FLOP: bound by the FMA units.
// Threads: a task owns some rows of dweight, for all output channels of a group; where dweight is
// small, and so has few rows to deal out, some images for all of a dweight of its own.
// Numerics: chains over at most kBlockPixels pixels, summed in order, then parts of the images in
// order; the shape alone decides what they are, so the bits are the same for every partition.

#include <array>

#include "column_sums.h"
#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "window_copy.h"

namespace alexnet::cpu::direct {
namespace {

constexpr size_t kBlockFloats = 2 << 20;  // of frames and panels of the images at hand
constexpr size_t kBlockPixels = 256;      // of one block of x: 256 × 16 floats, a third of L1
constexpr size_t kMostParts = 16, kFewestImages = 4;  // where images are cut into parts
constexpr size_t kSmallWeights = 64 << 10;  // floats, at most, of a dweight that each part has

// The summation index of a block, at most a segment for each of its pixels. Tasks have one each,
// since nothing may be allocated there.
using Segments = std::array<GemmSegment, kBlockPixels>;

// What every task of one call shares.
struct Plan {
    Plan(const KernelTable& k, const Conv2dShape& s)
        : shape(s),
          frame(frame_for(s.in_height, s.in_width, s.in_channels, s.pad_top, s.pad_left,
                          (s.out_height - 1) * s.stride_height + s.kernel_height,
                          (s.out_width - 1) * s.stride_width + s.kernel_width)),
          pixels(s.out_height * s.out_width),
          panels(k, s.group_out()),
          panel_size(pixels * panels.width),
          image_size(s.in_height * s.in_width * s.in_channels),
          frame_size(frame.is_image() ? image_size : size_t{padded(frame.size())}),
          pixel_step(s.stride_width * s.in_channels),
          images(std::clamp<size_t>(kBlockFloats / (panels.size(pixels) * s.groups + frame_size), 1,
                                    s.batch)),
          runs(s.kernel_height * (s.groups == 1 ? 1 : s.kernel_width)),
          run(s.groups == 1 ? s.kernel_width * s.in_channels : s.group_in()),
          tiles(ceil_div(run, kBlockRows)) {}

    const Conv2dShape& shape;
    Frame frame;
    size_t pixels;
    Panels panels;
    size_t panel_size, image_size, frame_size;
    size_t pixel_step;        // floats in x from one output's element to the next one's
    size_t images;            // framed and packed at once
    size_t runs, run, tiles;  // contiguous rows of dweight: how many, how long, in how many tiles
};

// A tile of dweight: some rows of one run.
struct Tile {
    Tile(const Plan& p, size_t index)
        : group(index / (p.runs * p.tiles)),
          r(index / p.tiles % p.runs),
          rows(part(p.run, p.tiles, index % p.tiles)) {}
    size_t group, r;
    Range rows;
};

// Pixels begin .. begin + depth of image n, multiplied into one tile of dweight. What is packed
// next and begins at `next` is fetched meanwhile, `next_step` floats a pixel; null for nothing.
void add_tile(const KernelTable& k, const Plan& p, const Tile& tile, const float* frame,
              const float* packed, size_t n, size_t begin, size_t depth, bool first,
              const float* next, size_t next_step, Segments& segments, float* block,
              float* dweight) {
    const Conv2dShape& s = p.shape;
    const size_t kh = s.groups == 1 ? tile.r : tile.r / s.kernel_width;
    const size_t kw = s.groups == 1 ? 0 : tile.r % s.kernel_width;
    const float* x = frame + (kh * p.frame.columns + kw) * s.in_channels +
                     tile.group * s.group_in() + tile.rows.begin;
    const bool in_place = p.pixel_step <= kLineFloats;
    const size_t block_row = padded(kBlockRows);
    size_t count = 0;
    for (size_t i = 0; i < depth;) {
        const size_t oh = (begin + i) / s.out_width, ow = (begin + i) % s.out_width;
        const size_t pixel = oh * s.stride_height * p.frame.columns + ow * s.stride_width;
        const size_t in_row = std::min(s.out_width - ow, depth - i);
        if (in_place) {
            segments[count++] = {pixel * s.in_channels, in_row,
                                 next ? next + i * next_step : nullptr};
        } else {
            k.copy_rows(in_row, tile.rows.size(), x + pixel * s.in_channels, p.pixel_step,
                        block + i * block_row, block_row);
        }
        i += in_row;
    }
    if (!in_place) segments[count++] = {0, depth, next};
    const Product product{
        tile.rows.size(),
        in_place ? x : block,
        1,
        in_place ? p.pixel_step : block_row,
        p.panels.width,
        dweight + (tile.r * p.run + tile.rows.begin) * s.out_channels + tile.group * s.group_out(),
        s.out_channels};
    for (size_t panel = 0; panel < p.panels.count; ++panel) {
        multiply_panel(
            k, product, {segments.data(), count, begin},
            packed + ((n * s.groups + tile.group) * p.panels.count + panel) * p.panel_size,
            p.panels[panel], {!first});
    }
}

// One panel of an image of dy.
void pack_pixels(const KernelTable& k, const Plan& p, const float* dy, size_t n, size_t group,
                 size_t panel, float* packed) {
    const Conv2dShape& s = p.shape;
    const Range columns = p.panels[panel];
    pack_panel(k, p.pixels, columns.size(),
               dy + s.output_pixel(n, 0, 0) + group * s.group_out() + columns.begin, s.out_channels,
               packed, p.panels.width);
}

// A block of images at a time, whose dy every task reads.
void by_rows(const KernelTable& k, const Plan& p, const float* dy, const float* x, float* dweight,
             float* dbias) {
    const Conv2dShape& s = p.shape;
    column_sums(s.batch * p.pixels, s.out_channels, dy, dbias);
    const int threads = num_threads();
    const bool in_place = p.frame.is_image();
    float* frames =
        scratch(Slot::kPaddedImages, in_place ? Size{0} : Size{p.images} * p.frame_size);
    float* packed = scratch(Slot::kPackedPanels, p.panels.size(p.pixels) * s.groups * p.images);
    const Slices blocks(Slot::kThreadOperand, static_cast<size_t>(threads),
                        Size{kBlockPixels} * padded(kBlockRows));

    // More tasks than threads, to balance them, but few: each passes over all of dy.
    const size_t tiles = s.groups * p.runs * p.tiles;
    const size_t tasks = std::min(tiles, 4 * static_cast<size_t>(threads));
    for (size_t first = 0; first < s.batch; first += p.images) {
        const size_t images = std::min(p.images, s.batch - first);
        const size_t frame_tasks = in_place ? 0 : images;
        parallel_tasks(threads, frame_tasks + images * s.groups * p.panels.count,
                       [&](size_t t, size_t) {
                           if (t < frame_tasks) {
                               copy_frame_rows(k, p.frame, x + (first + t) * p.image_size, 0,
                                               p.frame.rows, frames + t * p.frame_size);
                               return;
                           }
                           const size_t i = t - frame_tasks;  // image, group, panel
                           pack_pixels(k, p, dy, first + i / (p.panels.count * s.groups),
                                       i / p.panels.count % s.groups, i % p.panels.count,
                                       packed + i * p.panel_size);
                       });
        const float* source = in_place ? x + first * p.image_size : frames;
        parallel_tasks(threads, tasks, [&](size_t t, size_t thread) {
            const Range own = part(tiles, tasks, t);
            Segments segments;
            for (size_t n = 0; n < images; ++n) {
                for (size_t begin = 0; begin < p.pixels; begin += kBlockPixels) {
                    for (size_t tile = own.begin; tile < own.end; ++tile) {
                        add_tile(k, p, Tile(p, tile), source + n * p.frame_size, packed, n, begin,
                                 std::min(kBlockPixels, p.pixels - begin), first + n + begin == 0,
                                 nullptr, 0, segments, blocks[thread], dweight);
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
    const size_t parts = std::min(kMostParts, s.batch), tiles = s.groups * p.runs * p.tiles;
    const size_t frame_size = in_place ? 0 : padded(p.frame_size);
    const Size packed_size = padded(p.panels.size(p.pixels) * s.groups);
    const Slices sums(Slot::kGradientSums, parts, s.weight_size());
    const Slices memory(Slot::kThreadMemory, std::min(static_cast<size_t>(threads), parts),
                        packed_size + frame_size + kBlockPixels * padded(kBlockRows));
    const size_t width = p.panels.width, group_bias = p.panels.count * width;
    const size_t bias_size = s.groups * group_bias;
    double* bias_sums = scratch_doubles(Slot::kDoubleSums, Size{parts} * bias_size);
    std::fill_n(bias_sums, parts * bias_size, 0.0);
    parallel_tasks(threads, parts, [&](size_t task, size_t thread) {
        const Range images = part(s.batch, parts, task);
        float* frame = memory[thread];
        float* packed = frame + frame_size;
        Segments segments;
        for (size_t n = images.begin; n < images.end; ++n) {
            const float* image = x + n * p.image_size;
            if (!in_place) copy_frame_rows(k, p.frame, image, 0, p.frame.rows, frame);
            for (size_t i = 0; i < s.groups * p.panels.count; ++i) {
                float* panel = packed + i * p.panel_size;
                pack_pixels(k, p, dy, n, i / p.panels.count, i % p.panels.count, panel);
                double panel_sums[kWidestPanel];
                k.sum_rows(p.pixels, width, panel, width, panel_sums);
                double* bias = bias_sums + task * bias_size + i * width;
                for (size_t j = 0; j < width; ++j) bias[j] += panel_sums[j];
            }
            // A share of the next image's dy for each tile.
            const float* next = n + 1 < images.end ? dy + s.output_pixel(n + 1, 0, 0) : nullptr;
            const size_t share = ceil_div(s.out_channels, tiles);
            for (size_t begin = 0; begin < p.pixels; begin += kBlockPixels) {
                const size_t depth = std::min(kBlockPixels, p.pixels - begin);
                for (size_t tile = 0; tile < tiles; ++tile) {
                    add_tile(k, p, Tile(p, tile), in_place ? image : frame, packed, 0, begin, depth,
                             n == images.begin && begin == 0,
                             next ? next + begin * s.out_channels + tile * depth * share : nullptr,
                             share, segments, packed + packed_size, sums[task]);
                }
            }
        }
    });
    k.copy(s.weight_size(), sums[0], dweight);
    const float one = 1.0f;
    for (size_t i = 1; i < parts; ++i) {
        k.add_weighted_rows(1, s.weight_size(), &one, sums[i], 0, dweight);
    }
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
    const Plan p(k, s);
    const bool cut = s.weight_size() <= kSmallWeights && s.batch >= kFewestImages;
    (cut ? by_parts : by_rows)(k, p, dy, x, dweight, dbias);
}

}  // namespace alexnet::cpu::direct
