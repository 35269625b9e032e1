// Gradient of a convolution with respect to its weights in Winograd's domain: with x and dy of each
// tile transformed, the gradient at each frequency is a product of matrices whose summation index
// runs over the tiles, and a transform of the sums gives the taps.
//
//   dweight = Gᵀ · (sum over tiles of (Bᵀ · x · B)ᵀ ⊗ (A · dy · Aᵀ)) · G      ⊗ over the channels
//   dbias   = sum over tiles of A · dy · Aᵀ at the points (1, 1), where A is all ones
//
// Cost: 2 · in · out · Tiling::products() FLOP an image, as forward.
// Threads: a task transforms a row of tiles; then a task owns a frequency.
// Numerics: as forward; tiles are summed in order, in chains of at most kDepthBlock, then blocks of
// rows in order. The blocks depend on the shape alone: the same bits for every partition.

#include "column_sums.h"
#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "winograd.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kBlockFloats = 512 << 10;  // at least, of the spectra of a block
constexpr size_t kPointOne = 2;             // where microkernels/winograd.cpp has the point 1
constexpr size_t kWidestPanel = 32;         // gemm_nr of any instruction set

// Spectra of x and dy: for each frequency a matrix tiles × channels in panels of some channels, so
// that a tile of the products reads lines of memory one after the other. Sums: a matrix in × out
// channels for each frequency.
class WeightGradient {
  public:
    WeightGradient(const KernelTable& k, const Conv2dShape& s, const Problem& p, size_t rows)
        : k_(k),
          s_(s),
          p_(p),
          tiles_(rows * p.tiling.horizontal.tiles),
          in_panel_(3 * k.lanes),
          sum_row_(spectrum_row(s.group_out())),
          in_frequency_(ceil_div(p.group_in, in_panel_) * tiles_ * in_panel_ + kSpectrumGap),
          out_frequency_(panel_count(k, s.group_out()) * tiles_ * k.gemm_nr + kSpectrumGap),
          sum_frequency_(p.group_in * sum_row_ + kSpectrumGap) {}

    size_t spectra_size() const {
        return p_.tiling.frequencies() * (in_frequency_ + out_frequency_);
    }
    size_t sums_size() const { return p_.tiling.frequencies() * sum_frequency_; }

    // Whether all tiles have the point 1 on both axes.
    bool has_bias() const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        return vertical.tiles_with(kPointOne) == vertical.tiles &&
               horizontal.tiles_with(kPointOne) == horizontal.tiles;
    }
    size_t bias_frequency() const {
        return kPointOne * p_.tiling.horizontal.most_points() + kPointOne;
    }

    // Spectra of a row of tiles, in a block that begins with row `first`.
    void transform_row(Source& source, size_t first, size_t row, size_t group, const float* dy,
                       float* spectra) const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        const size_t n = row / vertical.tiles, p = row % vertical.tiles;
        float* out_spectra = spectra + p_.tiling.frequencies() * in_frequency_;
        const float* pixels[kPlaces];
        float* places[kPlaces];
        source.set_tile_row(row);
        for (size_t q = 0; q < horizontal.tiles; ++q) {
            source.places(q, group, pixels);
            spectrum_places(p_.tiling, first, row, q, spectra, in_panel_, in_frequency_, places);
            const Transform of_input = input_transform(k_, p_.tiling, p, q);
            for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
                const size_t panel = c / in_panel_ * tiles_ * in_panel_;
                const size_t lanes = std::min(k_.lanes, p_.group_in - c);
                of_input(pixels, c, lanes, places, panel + c % in_panel_, lanes);
            }
            for (size_t i = 0; i < vertical.size(p); ++i) {
                for (size_t j = 0; j < horizontal.size(q); ++j) {
                    pixels[i * horizontal.size(q) + j] =
                        dy + s_.output_pixel(n, vertical.start(p) + i, horizontal.start(q) + j);
                }
            }
            spectrum_places(p_.tiling, first, row, q, out_spectra, k_.gemm_nr, out_frequency_,
                            places);
            const Transform of_dy = output_gradient_transform(k_, p_.tiling, p, q);
            for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
                const size_t panel = o / k_.gemm_nr * tiles_ * k_.gemm_nr;
                const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
                of_dy(pixels, o, lanes, places, panel + o % k_.gemm_nr, k_.lanes);
            }
        }
    }

    // Adds a block's rows of tiles to the sums at frequency f, or sets them.
    void multiply(size_t f, Range rows, const float* spectra, float* sums) const {
        const DepthBlocks depth({{0, p_.tiling.tiles_with(f, rows)}}, in_panel_);
        const float* in = spectra + f * in_frequency_;
        const float* out = spectra + p_.tiling.frequencies() * in_frequency_ + f * out_frequency_;
        for (size_t o = 0; o < s_.group_out(); o += k_.gemm_nr) {
            for (size_t c = 0; c < p_.group_in; c += in_panel_) {
                const Product product{
                    std::min(in_panel_, p_.group_in - c),     in + c * tiles_, 1, in_panel_,
                    sums + f * sum_frequency_ + c * sum_row_, sum_row_};
                for (const DepthBlocks::Block& block : depth.blocks()) {
                    multiply_panel(k_, product, block, out + o * tiles_, o,
                                   std::min(k_.gemm_nr, s_.group_out() - o),
                                   {rows.begin > 0 || block.begin > 0});
                }
            }
        }
    }

    // Adds a block's rows of tiles to the sums of dy, one for each channel of whole panels.
    void add_bias(Range rows, const float* spectra, double* sums) const {
        const size_t f = bias_frequency(), nr = k_.gemm_nr;
        const float* out = spectra + p_.tiling.frequencies() * in_frequency_ + f * out_frequency_;
        double block[kWidestPanel];
        for (size_t o = 0; o < s_.group_out(); o += nr) {
            k_.sum_rows(p_.tiling.tiles_with(f, rows), nr, out + o * tiles_, nr, block);
            for (size_t j = 0; j < nr; ++j) sums[o + j] += block[j];
        }
    }

    void transform_sums(size_t group, size_t channel, float* sums, float* elsewhere,
                        float* dweight) const {
        const float* in[kPlaces];
        for (size_t f = 0; f < p_.tiling.frequencies(); ++f) {
            in[f] = sums + f * sum_frequency_ + channel * sum_row_;
        }
        float* out[kPlaces];
        weight_places(s_, p_, dweight, elsewhere, group, channel, out);
        const Transform transform = weight_gradient_transform(k_, p_.tiling);
        for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
            transform(in, o, lanes, out, o, lanes);
        }
    }

  private:
    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    size_t tiles_, in_panel_, sum_row_, in_frequency_, out_frequency_, sum_frequency_;
};

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem p(s);
    const size_t total = s.batch * p.tiling.vertical.tiles;
    // The sums are read and written once a block, the spectra once: blocks as large as the sums.
    const size_t sums_floats = p.tiling.frequencies() * p.group_in * s.group_out();
    const size_t row_floats =
        p.tiling.products() * (p.group_in + s.group_out()) / p.tiling.vertical.tiles;
    const size_t rows =
        std::clamp<size_t>(std::max(kBlockFloats, sums_floats) / row_floats, 1, total);
    const WeightGradient gradient(k, s, p, rows);
    if (!gradient.has_bias()) {
        column_sums(s.batch * s.out_height * s.out_width, s.out_channels, dy, dbias);
    }
    float* spectra = scratch(Slot::kSpectra, gradient.spectra_size());
    float* sums = scratch(Slot::kPackedB, gradient.sums_size());
    const size_t frame_size = padded(Source::frame_size(s, p));
    float* frames = scratch(Slot::kFrames, team * frame_size);
    // Zeros to read beside the image, and a row for each thread to write taps beyond the window to.
    const size_t zeros_size = padded(p.group_in), sink_size = padded(s.group_out());
    float* zeros = scratch(Slot::kPartialSums, zeros_size + team * sink_size);
    std::fill_n(zeros, zeros_size, 0.0f);
    const size_t bias_size = panel_count(k, s.group_out()) * k.gemm_nr;
    double* bias_sums = scratch_doubles(Slot::kChannelRows, bias_size);

    for (size_t group = 0; group < s.groups; ++group) {
        std::fill_n(bias_sums, bias_size, 0.0);
        for (size_t first = 0; first < total; first += rows) {
            const Range block{first, std::min(first + rows, total)};
            parallel_tasks(threads, block.size(), [&](size_t task, size_t thread) {
                Source source(k, s, p, x, frames + thread * frame_size, zeros);
                gradient.transform_row(source, first, first + task, group,
                                       dy + group * s.group_out(), spectra);
            });
            parallel_tasks(threads, p.tiling.frequencies(), [&](size_t f, size_t) {
                gradient.multiply(f, block, spectra, sums);
                if (gradient.has_bias() && f == gradient.bias_frequency()) {
                    gradient.add_bias(block, spectra, bias_sums);
                }
            });
        }
        parallel_tasks(threads, p.group_in, [&](size_t channel, size_t thread) {
            gradient.transform_sums(group, channel, sums, zeros + zeros_size + thread * sink_size,
                                    dweight);
        });
        for (size_t o = 0; gradient.has_bias() && o < s.group_out(); ++o) {
            dbias[group * s.group_out() + o] = static_cast<float>(bias_sums[o]);
        }
    }
}

}  // namespace alexnet::cpu::winograd
