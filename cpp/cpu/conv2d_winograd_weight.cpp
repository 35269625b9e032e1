// Gradient of a convolution with respect to its weights in Winograd's domain: with x and dy of each
// tile transformed, the gradient at each frequency is a product of matrices whose summation index
// runs over the tiles, and a transform of the sums gives the taps.
//
//   dweight = Gᵀ · (sum over tiles of (Bᵀ · x · B)ᵀ ⊗ (A · dy · Aᵀ)) · G      ⊗ over the channels
//   dbias   = sum over tiles of A · dy · Aᵀ at the points (1, 1), where A is all ones
//
// Cost: 2 · in · out · Tiling::products() FLOP an image, as forward.
// Threads: a task owns some input and output channels and the tiles of a part of the images: it
// transforms them, in blocks, and adds their products to sums of its own. Nothing that one task
// writes is read by another before the sums are transformed back: lines that go from core to core
// cost more than the few transforms that tasks for other channels repeat.
// Numerics: as forward; tiles are summed in order, in chains of at most kDepthBlock, then blocks of
// rows of tiles, then parts, in order. Blocks and parts depend on the shape alone: the same bits
// for every partition.

#include <cstdint>

#include "column_sums.h"
#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "winograd.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kLeastBlock = 512 << 10;  // floats of a block's spectra
constexpr size_t kMostBlock = 1280 << 10;
constexpr size_t kMostParts = 16;
constexpr size_t kPartSums = 8;  // floats of a part's spectra for each float of its sums
constexpr size_t kPointOne = 2;  // where microkernels/winograd.cpp has the point 1
constexpr size_t kInPanel = 3;   // vectors of input channels

// How the work is cut. A block's spectra are to stay in the caches, and the sums are read and
// written once for each block. Channels are cut into splits of whole vectors where there are more
// threads than parts; that does not show in the result.
struct Plan {
    Plan(const KernelTable& k, const Conv2dShape& s, const Problem& p, size_t threads) {
        total = s.batch * p.tiling.vertical.tiles;
        const size_t sums = p.tiling.frequencies() * p.group_in * s.group_out();
        const size_t spectra = p.tiling.products() * (p.group_in + s.group_out());
        while (2 * parts <= std::min(kMostParts, total) &&
               2 * parts * kPartSums * sums <= s.batch * spectra) {
            parts *= 2;
        }
        const size_t row = spectra / p.tiling.vertical.tiles;
        block_rows = std::clamp<size_t>(std::clamp(2 * sums, kLeastBlock, kMostBlock) / row, 1,
                                        ceil_div(total, parts));

        in = {p.group_in, k.lanes, kInPanel * k.lanes};
        out = {s.group_out(), k.lanes, 0};
        const size_t wanted = ceil_div(threads, parts * s.groups);
        size_t least = SIZE_MAX;
        for (size_t in_splits = 1; in_splits <= std::min(wanted, in.vectors()); ++in_splits) {
            const size_t out_splits = std::min(ceil_div(wanted, in_splits), out.vectors());
            const size_t columns = ceil_div(out.vectors(), out_splits);
            // Panels count as well: one of a single vector is slower than half of a whole one.
            const size_t work =
                ceil_div(in.vectors(), in_splits) * (columns + ceil_div(columns, k.gemm->vectors));
            if (work >= least) continue;
            least = work;
            in.splits = in_splits;
            out.splits = out_splits;
        }
        out.panel = Panels(k, ceil_div(out.vectors(), out.splits) * k.lanes).width;
    }

    // Channels in splits of vectors, each of them in panels.
    struct Channels {
        size_t count, vector, panel;
        size_t splits = 1;
        size_t vectors() const { return ceil_div(count, vector); }
        size_t most_panels() const { return ceil_div(ceil_div(vectors(), splits) * vector, panel); }
        Range of_split(size_t split) const {
            const Range range = part(vectors(), splits, split);
            return {range.begin * vector, std::min(range.end * vector, count)};
        }
    };

    size_t total;  // rows of tiles
    size_t parts = 1;
    size_t block_rows;
    Channels in, out;
};

// Spectra of x and dy: for each frequency a matrix tiles × channels in panels of some channels, so
// that a tile of the products reads lines of memory one after the other. Sums: a matrix in × out
// channels for each frequency.
class WeightGradient {
  public:
    WeightGradient(const KernelTable& k, const Conv2dShape& s, const Problem& p, const Plan& plan)
        : k_(k),
          s_(s),
          p_(p),
          tiles_(plan.block_rows * p.tiling.horizontal.tiles),
          in_panel_(plan.in.panel),
          out_panel_(plan.out.panel),
          sum_row_(spectrum_row(plan.out.most_panels() * plan.out.panel)),
          in_frequency_(plan.in.most_panels() * tiles_ * in_panel_ + kSpectrumGap),
          out_frequency_(plan.out.most_panels() * tiles_ * out_panel_ + kSpectrumGap),
          sum_frequency_(plan.in.most_panels() * plan.in.panel * sum_row_ + kSpectrumGap) {}

    size_t spectra_size() const {
        return p_.tiling.frequencies() * (in_frequency_ + out_frequency_);
    }
    size_t sums_size() const { return padded(p_.tiling.frequencies() * sum_frequency_); }

    // Whether all tiles have the point 1 on both axes.
    bool has_bias() const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        return vertical.tiles_with(kPointOne) == vertical.tiles &&
               horizontal.tiles_with(kPointOne) == horizontal.tiles;
    }

    // Spectra of one of some rows of tiles, in a block that begins with row `first`, for the input
    // channels `channels` and the output channels `columns` of a group. What the row after it
    // reads is fetched meanwhile.
    void transform_row(Source& source, Range rows, size_t first, size_t row, size_t group,
                       Range channels, Range columns, const float* dy, float* spectra) const {
        const Axis& horizontal = p_.tiling.horizontal;
        const size_t p = row % p_.tiling.vertical.tiles;
        float* out_spectra = spectra + p_.tiling.frequencies() * in_frequency_;
        const Range next{row + 1, std::min(row + 2, rows.end)};
        Fetching fetching_x(source.pixels(next),
                            horizontal.tiles * ceil_div(channels.size(), k_.lanes));
        Fetching fetching_dy(output_pixels(next, dy),
                             horizontal.tiles * ceil_div(columns.size(), k_.lanes));
        SpectrumPlaces in_places(p_.tiling, first, row, spectra, in_panel_, in_frequency_);
        SpectrumPlaces out_places(p_.tiling, first, row, out_spectra, out_panel_, out_frequency_);
        OutputPlaces<const float> dy_places(s_, p_.tiling, row,
                                            dy + group * s_.group_out() + columns.begin);
        source.set_tile_row(row);
        for (size_t q = 0; q < horizontal.tiles; ++q) {
            const float* pixels[kPlaces];
            source.places(q, group, pixels);
            float* const* places = in_places.next();
            const Transform of_input = input_transform(k_, p_.tiling, p, q);
            for (size_t c = 0; c < channels.size(); c += k_.lanes) {
                const size_t panel = c / in_panel_ * tiles_ * in_panel_;
                const size_t lanes = std::min(k_.lanes, channels.size() - c);
                of_input(pixels, channels.begin + c, lanes, places, panel + c % in_panel_, lanes);
                fetching_x.next_share();
            }
            const float* const* gradients = dy_places.next();
            places = out_places.next();
            const Transform of_dy = output_gradient_transform(k_, p_.tiling, p, q);
            for (size_t o = 0; o < columns.size(); o += k_.lanes) {
                const size_t panel = o / out_panel_ * tiles_ * out_panel_;
                const size_t lanes = std::min(k_.lanes, columns.size() - o);
                of_dy(gradients, o, lanes, places, panel + o % out_panel_, k_.lanes);
                fetching_dy.next_share();
            }
        }
    }

    // Adds a block's rows of tiles to the sums, or sets them.
    void multiply(Range rows, Range channels, Range columns, bool first, const float* spectra,
                  float* sums) const {
        for (size_t f = 0; f < p_.tiling.frequencies(); ++f) {
            const DepthBlocks depth({{0, p_.tiling.tiles_with(f, rows)}}, in_panel_);
            const float* in = spectra + f * in_frequency_;
            const float* out =
                spectra + p_.tiling.frequencies() * in_frequency_ + f * out_frequency_;
            for (size_t o = 0; o < columns.size(); o += out_panel_) {
                for (size_t c = 0; c < channels.size(); c += in_panel_) {
                    const Product product{std::min(in_panel_, channels.size() - c),
                                          in + c * tiles_,
                                          1,
                                          in_panel_,
                                          out_panel_,
                                          sums + f * sum_frequency_ + c * sum_row_,
                                          sum_row_};
                    for (const DepthBlocks::Block& block : depth.blocks()) {
                        multiply_panel(k_, product, block, out + o * tiles_,
                                       {o, std::min(o + out_panel_, columns.size())},
                                       {!first || block.begin > 0});
                    }
                }
            }
        }
    }

    // Adds a block's rows of tiles to the sums of dy, one for each channel.
    void add_bias(Range rows, Range columns, const float* spectra, double* sums) const {
        const size_t f = kPointOne * p_.tiling.horizontal.most_points() + kPointOne;
        const float* out = spectra + p_.tiling.frequencies() * in_frequency_ + f * out_frequency_;
        double block[kWidestPanel];
        for (size_t o = 0; o < columns.size(); o += out_panel_) {
            k_.sum_rows(p_.tiling.tiles_with(f, rows), out_panel_, out + o * tiles_, out_panel_,
                        block);
            const size_t count = std::min(out_panel_, columns.size() - o);
            for (size_t j = 0; j < count; ++j) sums[columns.begin + o + j] += block[j];
        }
    }

    // The weights of one channel of a block for some output channels, from their sums of all parts,
    // which are added up.
    void transform_sums(size_t parts, float* const* sums, size_t group, Range channels,
                        size_t channel, Range columns, float* elsewhere, float* dweight) const {
        const float one = 1.0f;
        const float* in[kPlaces];
        for (size_t f = 0; f < p_.tiling.frequencies(); ++f) {
            const size_t row = f * sum_frequency_ + (channel - channels.begin) * sum_row_;
            in[f] = sums[0] + row;
            for (size_t i = 1; i < parts; ++i) {
                k_.add_weighted_rows(1, columns.size(), &one, sums[i] + row, 0, sums[0] + row);
            }
        }
        float* out[kPlaces];
        weight_places(s_, p_, dweight, elsewhere, group, channel, out);
        const Transform transform = weight_gradient_transform(k_, p_.tiling);
        for (size_t o = 0; o < columns.size(); o += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, columns.size() - o);
            transform(in, o, lanes, out, columns.begin + o, lanes);
        }
    }

  private:
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
    size_t tiles_, in_panel_, out_panel_, sum_row_, in_frequency_, out_frequency_, sum_frequency_;
};

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem p(s);
    const Plan plan(k, s, p, team);
    const WeightGradient gradient(k, s, p, plan);
    if (!gradient.has_bias()) {
        column_sums(s.batch * s.out_height * s.out_width, s.out_channels, dy, dbias);
    }
    const size_t splits = plan.in.splits * plan.out.splits;
    // The sums of a task lie with the thread that is to take it (parallel_tasks).
    const size_t tasks = s.groups * plan.parts * splits, takers = std::min(team, tasks);
    const Slices sums(Slot::kPackedB, takers, ceil_div(tasks, takers) * gradient.sums_size());
    const auto sums_of = [&](size_t task) {
        const size_t taker = ((task + 1) * takers - 1) / tasks;
        return sums[taker] + (task - tasks * taker / takers) * gradient.sums_size();
    };
    const size_t spectra_size = padded(gradient.spectra_size());
    const Slices memory(Slot::kFrames, team, spectra_size + Source::frame_size(s, p));
    // Zeros to read beside the image, and a row for each thread to write taps beyond the window to.
    const size_t zeros_size = padded(p.group_in), sink_size = padded(s.group_out());
    float* zeros = scratch(Slot::kPartialSums, zeros_size + team * sink_size);
    std::fill_n(zeros, zeros_size, 0.0f);
    const size_t bias_size = s.group_out();
    double* bias_sums = scratch_doubles(Slot::kChannelRows, s.groups * plan.parts * bias_size);
    std::fill_n(bias_sums, s.groups * plan.parts * bias_size, 0.0);

    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const size_t buffer = task / splits, group = buffer / plan.parts;
        const Range columns = plan.out.of_split(task % plan.out.splits);
        const Range channels = plan.in.of_split(task / plan.out.splits % plan.in.splits);
        const Range rows = part(plan.total, plan.parts, buffer % plan.parts);
        float* spectra = memory[thread];
        Source source(k, s, p, x, spectra + spectra_size, zeros);
        for (size_t first = rows.begin; first < rows.end; first += plan.block_rows) {
            const Range block{first, std::min(first + plan.block_rows, rows.end)};
            for (size_t row = block.begin; row < block.end; ++row) {
                gradient.transform_row(source, rows, first, row, group, channels, columns, dy,
                                       spectra);
            }
            gradient.multiply(block, channels, columns, first == rows.begin, spectra,
                              sums_of(task));
            if (gradient.has_bias() && channels.begin == 0) {
                gradient.add_bias(block, columns, spectra, bias_sums + buffer * bias_size);
            }
        }
    });
    const size_t most_channels = plan.in.most_panels() * plan.in.panel;  // of a split
    parallel_tasks(threads, s.groups * splits * most_channels, [&](size_t task, size_t thread) {
        const size_t group = task / (splits * most_channels);
        const size_t split = task / most_channels % splits;
        const Range channels = plan.in.of_split(split / plan.out.splits);
        const size_t channel = channels.begin + task % most_channels;
        if (channel >= channels.end) return;
        float* part_sums[kMostParts];
        for (size_t i = 0; i < plan.parts; ++i) {
            part_sums[i] = sums_of((group * plan.parts + i) * splits + split);
        }
        gradient.transform_sums(plan.parts, part_sums, group, channels, channel,
                                plan.out.of_split(split % plan.out.splits),
                                zeros + zeros_size + thread * sink_size, dweight);
        k.stream_fence();
    });
    for (size_t o = 0; gradient.has_bias() && o < s.out_channels; ++o) {
        const size_t group = o / s.group_out();
        double sum = 0.0;
        for (size_t i = 0; i < plan.parts; ++i) {
            sum += bias_sums[(group * plan.parts + i) * bias_size + o % s.group_out()];
        }
        dbias[o] = static_cast<float>(sum);
    }
}

}  // namespace alexnet::cpu::winograd
