// Gradient of a convolution with respect to its weights in Winograd's domain: with x and dy of each
// tile transformed, the gradient at each frequency is a product of matrices whose summation index
// runs over the tiles, and a transform of the sums gives the taps.
//
//   dweight = Gᵀ · (sum over tiles of (Bᵀ · x · B)ᵀ ⊗ (A · dy · Aᵀ)) · G      ⊗ over the channels
//   dbias   = sum over tiles of A · dy · Aᵀ at the points (1, 1), where A is all ones
//
// Cost: 2 · in · out · Tiling::products() FLOP an image, as forward.
// Threads: rows of tiles are transformed by whoever is free, some of them a block; then each
// frequency and panel of output channels is a task, which adds the block's products to its sums;
// when all blocks are through, the sums of an input channel are transformed back.
// Numerics: as forward; tiles are summed in order, in chains that depend on the shape alone: the
// same bits for every partition.

#include "column_sums.h"
#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "winograd.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kLeastBlock = 1536 << 10;  // floats of a block's spectra
constexpr size_t kMostBlock = 4096 << 10;
constexpr size_t kPointOne = 2;  // where microkernels/winograd.cpp has the point 1
constexpr size_t kInPanel = 3;   // vectors of input channels

// Floats of a block: what is much larger does not stay in the caches, but the sums are read and
// written once for each block.
size_t block_floats(const Conv2dShape& s, const Problem& p) {
    const size_t sums = p.tiling.elements() * p.group_in * s.out_channels;
    return std::clamp(sums, kLeastBlock, kMostBlock);
}

// ElementMatrices of x and dy: for each group and frequency a matrix tiles × channels in panels of some
// channels, so that a tile of the products reads lines of memory one after the other. Sums: a
// matrix in × out channels for each frequency.
class WeightGradient {
  public:
    WeightGradient(const KernelTable& k, const Conv2dShape& s, const Problem& p, size_t block_rows)
        : k_(k),
          s_(s),
          p_(p),
          tiles_(block_rows * p.tiling.horizontal.tiles),
          in_panel_(kInPanel * k.lanes),
          out_panels_(k, s.group_out()),
          sum_row_(element_row(out_panels_.count * out_panels_.width)),
          in_element_(Size{tiles_} * ceil_div(p.group_in, in_panel_) * in_panel_ + kElementGap),
          out_element_(out_panels_.size(tiles_) + kElementGap),
          sum_element_(Size{p.group_in} * sum_row_ + kElementGap) {}

    // Floats of a group.
    Size element_matrices() const {
        return padded(p_.tiling.elements() * (Size{in_element_} + out_element_));
    }
    Size sums_size() const { return padded(p_.tiling.elements() * Size{sum_element_}); }

    size_t panels() const { return out_panels_.count; }  // of output channels

    // The frequency whose products sum dy, if all tiles have it.
    size_t bias_element() const {
        return kPointOne * p_.tiling.horizontal.most_points() + kPointOne;
    }
    bool has_bias() const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        return vertical.tiles_with(kPointOne) == vertical.tiles &&
               horizontal.tiles_with(kPointOne) == horizontal.tiles;
    }

    // ElementMatrices of x, of a group, for one of a block's rows of tiles. What the row after it reads is
    // fetched meanwhile. Returns whether the values of each tile are alike.
    bool transform_input(Source& source, Range block, size_t row, size_t group,
                         float* transformed) const {
        const size_t tiles = p_.tiling.horizontal.tiles;
        Prefetcher prefetcher(source.pixels({row + 1, std::min(row + 2, block.end)}),
                              tiles * ceil_div(p_.group_in, k_.lanes));
        TileElementPointers places(p_.tiling, block.begin, row, transformed, in_panel_,
                                   in_element_);
        source.set_tile_row(row);
        const bool alike = source.is_alike(group);
        for (size_t q = 0; q < tiles; ++q) {
            const float* pixels[kPlaces];
            source.places(q, group, pixels);
            float* const* elements = places.next();
            const Transform transform =
                input_transform(k_, p_.tiling, row % p_.tiling.vertical.tiles, q);
            for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
                const size_t panel = c / in_panel_ * tiles_ * in_panel_;
                const size_t lanes = std::min(k_.lanes, p_.group_in - c);
                transform(pixels, c, lanes, elements, panel + c % in_panel_, lanes);
                prefetcher.next_share();
            }
        }
        return alike;
    }

    // The same of dy. `grid` is memory for magnitudes, as large as a source's frame.
    bool transform_output_gradient(Range block, size_t row, size_t group, const float* dy,
                                   float* grid, float* transformed) const {
        const size_t tiles = p_.tiling.horizontal.tiles;
        Prefetcher prefetcher(output_pixels({row + 1, std::min(row + 2, block.end)}, dy),
                              tiles * ceil_div(s_.group_out(), k_.lanes));
        TileElementPointers places(p_.tiling, block.begin, row, transformed + in_size(),
                                   out_panels_.width, out_element_);
        OutputPointers<const float> gradients(s_, p_.tiling, row, dy + group * s_.group_out());
        for (size_t q = 0; q < tiles; ++q) {
            const float* const* pixels = gradients.next();
            float* const* elements = places.next();
            const Transform transform =
                output_gradient_transform(k_, p_.tiling, row % p_.tiling.vertical.tiles, q);
            for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
                const size_t panel = o / out_panels_.width * tiles_ * out_panels_.width;
                const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
                transform(pixels, o, lanes, elements, panel + o % out_panels_.width, k_.lanes);
                prefetcher.next_share();
            }
        }
        return gradients_are_alike(row, group, dy, grid);
    }

    // Adds a block's products at frequency f, for a panel of output channels, to its sums. The
    // first block, whose first tile has all frequencies, sets them.
    void multiply(size_t f, size_t panel, Range block, const float* transformed,
                  float* sums) const {
        constexpr GemmEpilogue set{false, nullptr, false, false, false, true};
        constexpr GemmEpilogue add{true, nullptr, false, false, false, true};
        const float* out = transformed_dy(f, panel, transformed);
        for (size_t c = 0; c < p_.group_in; c += in_panel_) {
            const Product product{std::min(in_panel_, p_.group_in - c),
                                  transformed + f * in_element_ + c * tiles_,
                                  1,
                                  in_panel_,
                                  out_panels_.width,
                                  sums + f * sum_element_ + c * sum_row_,
                                  sum_row_};
            multiply_in_pieces(k_, product, p_.tiling.tiles_with(f, block), out, out_panels_[panel],
                               block.begin == 0 ? set : add, add);
        }
    }

    // Adds a block's rows of tiles to the sums of dy, one for each channel, for a panel of them.
    void add_bias(size_t panel, Range block, const float* transformed, double* sums) const {
        double own[kWidestPanel];
        const size_t tiles = p_.tiling.tiles_with(bias_element(), block);
        k_.sum_rows(tiles, out_panels_.width, transformed_dy(bias_element(), panel, transformed),
                    out_panels_.width, own);
        const Range columns = out_panels_[panel];
        for (size_t j = 0; j < columns.size(); ++j) sums[columns.begin + j] += own[j];
    }

    // The weights of one channel of a block of pixels, from their sums. Returns whether all are
    // finite.
    bool transform_sums(const float* sums, size_t group, size_t channel, float* elsewhere,
                        float* dweight) const {
        const float* in[kPlaces];
        for (size_t f = 0; f < p_.tiling.elements(); ++f) {
            in[f] = sums + f * sum_element_ + channel * sum_row_;
        }
        float* out[kPlaces];
        weight_pointers(s_, p_, dweight, elsewhere, group, channel, out);
        const Transform transform = weight_gradient_transform(k_, p_.tiling);
        bool finite = true;
        for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
            finite &= transform(in, o, lanes, out, o, lanes);
        }
        return finite;
    }

  private:
    size_t in_size() const { return p_.tiling.elements() * in_element_; }
    const float* transformed_dy(size_t f, size_t panel, const float* transformed) const {
        return transformed + in_size() + f * out_element_ + panel * tiles_ * out_panels_.width;
    }

    // A tap does not see the border of dy where it meets padding, nor what meets zeros of x: any
    // half of a tile, along both axes, must have its share of the largest.
    bool gradients_are_alike(size_t row, size_t group, const float* dy, float* grid) const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        const size_t n = row / vertical.tiles, p = row % vertical.tiles, rows = vertical.size(p);
        PixelMagnitudes magnitudes(k_, grid, rows, s_.out_width);
        for (size_t r = 0; r < rows; ++r) {
            k_.magnitudes(
                s_.out_width, s_.group_out(), s_.out_channels,
                dy + s_.output_pixel(n, vertical.start(p) + r, 0) + group * s_.group_out(),
                magnitudes.row(r));
        }
        if (magnitudes.all_alike()) return true;
        for (size_t q = 0; q < horizontal.tiles; ++q) {
            const Range tile{horizontal.start(q), horizontal.start(q) + horizontal.size(q)};
            if (!magnitudes.tile_is_alike(tile, ceil_div(rows, 2), ceil_div(tile.size(), 2))) {
                return false;
            }
        }
        return true;
    }

    // What a row of tiles, or none, reads of dy.
    Run output_pixels(Range row, const float* dy) const {
        if (row.size() == 0) return {dy, 0};
        const Axis& vertical = p_.tiling.vertical;
        const size_t n = row.begin / vertical.tiles, p = row.begin % vertical.tiles;
        return {dy + s_.output_pixel(n, vertical.start(p), 0),
                vertical.size(p) * s_.out_width * s_.out_channels};
    }

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    size_t tiles_, in_panel_;
    Panels out_panels_;
    size_t sum_row_, in_element_, out_element_, sum_element_;
};

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem p(s);
    const size_t block_rows = rows_a_block(s, p, block_floats(s, p));
    const WeightGradient gradient(k, s, p, block_rows);
    if (!gradient.has_bias()) {
        column_sums(s.batch * s.out_height * s.out_width, s.out_channels, dy, dbias);
    }
    const size_t elements = p.tiling.elements(), panels = gradient.panels();
    const Size sums_size = gradient.sums_size(), element_matrices = gradient.element_matrices();
    const Slices sums_memory(Slot::kGradientSums, 1, s.groups * sums_size);
    const Slices transformed_memory(Slot::kThreadMemory, 1, s.groups * element_matrices);
    float* const all_sums = sums_memory[0];
    float* const all_transformed = transformed_memory[0];
    const Slices frames(Slot::kThreadOperand, team, Source::frame_size(s, p));
    // Zeros to read beside the image, and a row for each thread to write taps beyond the window to.
    const size_t zeros_size = padded(p.group_in), sink_size = padded(s.group_out());
    float* zeros = scratch(Slot::kOutside, Size{team} * sink_size + zeros_size);
    std::fill_n(zeros, zeros_size, 0.0f);
    double* bias_sums = scratch_doubles(Slot::kDoubleSums, Size{s.out_channels});
    std::fill_n(bias_sums, s.out_channels, 0.0);

    std::atomic<bool> serves = true;
    const size_t total = s.batch * p.tiling.vertical.tiles;
    for (size_t first = 0; first < total; first += block_rows) {
        const Range block{first, std::min(first + block_rows, total)};
        parallel_tasks(threads, 2 * block.size(), [&](size_t task, size_t thread) {
            const size_t row = block.begin + task / 2;
            Source source(k, s, p, x, frames[thread], zeros);
            for (size_t group = 0; group < s.groups; ++group) {
                float* transformed = all_transformed + group * element_matrices;
                const bool alike =
                    task % 2 == 0 ? gradient.transform_input(source, block, row, group, transformed)
                                  : gradient.transform_output_gradient(block, row, group, dy,
                                                                       frames[thread], transformed);
                if (!alike) serves = false;
            }
        });
        if (!serves) return direct::backward_weight(s, dy, x, dweight, dbias);
        parallel_tasks(threads, s.groups * elements * panels, [&](size_t task, size_t) {
            const size_t panel = task % panels, f = task / panels % elements;
            const size_t group = task / (panels * elements);
            const float* transformed = all_transformed + group * element_matrices;
            gradient.multiply(f, panel, block, transformed, all_sums + group * sums_size);
            if (gradient.has_bias() && f == gradient.bias_element()) {
                gradient.add_bias(panel, block, transformed, bias_sums + group * s.group_out());
            }
        });
    }
    parallel_tasks(threads, s.groups * p.group_in, [&](size_t task, size_t thread) {
        const size_t group = task / p.group_in;
        if (!gradient.transform_sums(all_sums + group * sums_size, group, task % p.group_in,
                                     zeros + zeros_size + thread * sink_size, dweight)) {
            serves = false;
        }
        k.stream_fence();
    });
    if (!serves) return direct::backward_weight(s, dy, x, dweight, dbias);
    for (size_t o = 0; gradient.has_bias() && o < s.out_channels; ++o) {
        dbias[o] = static_cast<float>(bias_sums[o]);
    }
}

}  // namespace alexnet::cpu::winograd
