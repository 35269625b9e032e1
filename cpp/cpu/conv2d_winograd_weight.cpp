// Gradient of a convolution with respect to its weights in Winograd's domain: with x and dy of each
// tile transformed, the gradient at each frequency is a product of matrices whose summation index
// runs over the tiles, and a transform of the sums gives the taps.
//
//   dweight = Gᵀ · (sum over tiles of (Bᵀ · x · B)ᵀ ⊗ (A · dy · Aᵀ)) · G      ⊗ over the channels
//
// Cost: 2 · in · out · Tiling::products() FLOP an image, as forward.
// Threads: images are transformed by one task each; then a task owns a frequency.
// Numerics: as forward; tiles are summed in order, in chains of at most kDepthBlock, then image
// blocks in order. The blocks depend on the shape alone: the same bits for every partition.

#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "winograd.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kBlockFloats = 4 << 20;  // of the spectra of a block of images

// Spectra of x: a matrix tiles × channels for each frequency. Spectra of dy: the same in packed
// panels. Sums: a matrix in × out channels for each frequency.
class WeightGradient {
  public:
    WeightGradient(const KernelTable& k, const Conv2dShape& s, const Problem& p, size_t images)
        : k_(k),
          s_(s),
          p_(p),
          tiles_(images * p.tiling.tiles()),
          panels_(panel_count(k, s.group_out())),
          in_row_(spectrum_row(p.group_in)),
          sum_row_(spectrum_row(s.group_out())),
          in_frequency_(tiles_ * in_row_ + kSpectrumGap),
          out_frequency_(panels_ * tiles_ * k.gemm_nr + kSpectrumGap),
          sum_frequency_(p.group_in * sum_row_ + kSpectrumGap) {}

    size_t spectra_size() const {
        return p_.tiling.frequencies() * (in_frequency_ + out_frequency_);
    }
    size_t sums_size() const { return p_.tiling.frequencies() * sum_frequency_; }

    void transform_image(Source& source, size_t n, size_t group, const float* dy,
                         float* spectra) const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        float* out_spectra = spectra + p_.tiling.frequencies() * in_frequency_;
        const float* pixels[kPlaces];
        float* places[kPlaces];
        for (size_t p = 0; p < vertical.tiles; ++p) {
            source.set_tile_row(p);
            for (size_t q = 0; q < horizontal.tiles; ++q) {
                source.places(p, q, group, pixels);
                spectrum_places(p_.tiling, n, p, q, spectra, in_row_, in_frequency_, places);
                const Transform of_input = input_transform(k_, p_.tiling, p, q);
                for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
                    const size_t lanes = std::min(k_.lanes, p_.group_in - c);
                    of_input(pixels, c, lanes, places, c, lanes);
                }
                for (size_t i = 0; i < vertical.size(p); ++i) {
                    for (size_t j = 0; j < horizontal.size(q); ++j) {
                        pixels[i * horizontal.size(q) + j] =
                            dy + s_.output_pixel(0, vertical.start(p) + i, horizontal.start(q) + j);
                    }
                }
                spectrum_places(p_.tiling, n, p, q, out_spectra, k_.gemm_nr, out_frequency_,
                                places);
                const Transform of_dy = output_gradient_transform(k_, p_.tiling, p, q);
                for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
                    const size_t panel = o / k_.gemm_nr * tiles_ * k_.gemm_nr;
                    const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
                    of_dy(pixels, o, lanes, places, panel + o % k_.gemm_nr, k_.lanes);
                }
            }
        }
    }

    // Adds the block's images to the sums at frequency f, or sets them.
    void multiply(size_t f, size_t images, bool first, const float* spectra, float* sums) const {
        const DepthBlocks depth({{0, images * p_.tiling.rows(f)}}, in_row_);
        const Product product{p_.group_in, spectra + f * in_frequency_, 1,
                              in_row_,     sums + f * sum_frequency_,   sum_row_};
        const float* panels =
            spectra + p_.tiling.frequencies() * in_frequency_ + f * out_frequency_;
        for (size_t panel = 0; panel < panels_; ++panel) {
            const size_t column = panel * k_.gemm_nr;
            for (const DepthBlocks::Block& block : depth.blocks()) {
                multiply_panel(k_, product, block, panels + column * tiles_, column,
                               std::min(k_.gemm_nr, s_.group_out() - column),
                               {!first || block.begin > 0});
            }
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
    size_t tiles_, panels_, in_row_, sum_row_, in_frequency_, out_frequency_, sum_frequency_;
};

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem p(s);
    const size_t image_floats = p.tiling.products() * (p.group_in + s.group_out());
    const size_t images = std::clamp<size_t>(kBlockFloats / image_floats, 1, s.batch);
    const WeightGradient gradient(k, s, p, images);
    float* spectra = scratch(Slot::kSpectra, gradient.spectra_size());
    float* sums = scratch(Slot::kPackedB, gradient.sums_size());
    const size_t frame_size = padded(Source::frame_size(s, p));
    float* frames = scratch(Slot::kFrames, team * frame_size);
    // Zeros to read beside the image, and a row for each thread to write taps beyond the window to.
    const size_t zeros_size = padded(p.group_in), sink_size = padded(s.group_out());
    float* zeros = scratch(Slot::kPartialSums, zeros_size + team * sink_size);
    std::fill_n(zeros, zeros_size, 0.0f);

    for (size_t group = 0; group < s.groups; ++group) {
        for (size_t first = 0; first < s.batch; first += images) {
            const size_t count = std::min(images, s.batch - first);
            parallel_tasks(threads, count, [&](size_t n, size_t thread) {
                Source source(k, s, p, frames + thread * frame_size, zeros);
                source.set_image(x + s.input_pixel(first + n, 0, 0));
                gradient.transform_image(
                    source, n, group, dy + s.output_pixel(first + n, 0, 0) + group * s.group_out(),
                    spectra);
            });
            parallel_tasks(threads, p.tiling.frequencies(), [&](size_t f, size_t) {
                gradient.multiply(f, count, first == 0, spectra, sums);
            });
        }
        parallel_tasks(threads, p.group_in, [&](size_t channel, size_t thread) {
            gradient.transform_sums(group, channel, sums, zeros + zeros_size + thread * sink_size,
                                    dweight);
        });
    }
}

}  // namespace alexnet::cpu::winograd
