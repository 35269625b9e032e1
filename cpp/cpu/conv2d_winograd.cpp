// Convolution by Winograd's minimal filtering: fewer multiplications for more additions. The input
// of each tile is transformed to a value at each frequency; there the convolution is a product of
// matrices over the channels, on the same register tile as everything else; the products are
// transformed back to outputs, with bias and ReLU on the way. winograd.h says how tiles and
// frequencies are laid out, microkernels/winograd.cpp what the transforms are.
//
// backward_input is the same with the weights turned by 180° and transposed; conv2d_winograd_weight
// is the gradient with respect to the weights.
//
// Cost: 2 · in · out · Tiling::products() FLOP an image: for 13 × 13 outputs of a 3 × 3 window 361
// instead of 1521, for 27 × 27 of a 5 × 5 window 3025 instead of 18225. The spectra of the weights
// are (points / window)² times the weights, so few tiles do not pay (conv2d.cpp decides).
// Threads: with many images, tasks own some rows of tiles, as few as do not read the weights'
// spectra too often; with fewer, the transforms come first, and tasks own frequencies; with few,
// tasks own output channels and transform their weights on the way.
// Numerics: relative L2 error about 2e-6 to 5e-6, of the transforms; each product is one chain of
// FMAs over the channels (microkernels/gemm.cpp). The same bits for every partition.

#include <vector>

#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "winograd.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kTilesATask = 18;           // at least: enough for one pass over the weights
constexpr size_t kTilesForWeights = 2;       // spectra of tiles, at most, for one of the weights
constexpr size_t kBlockFloats = 4096 << 10;  // spectra of tiles at a time, where threads share them
constexpr size_t kPanelFloats = 96 << 10;    // of the weights' spectra that stay in L2

// A matrix for each frequency: floats from row to row, and from matrix to matrix.
struct Spectra {
    size_t row, frequency;
};

Spectra spectra_size(size_t rows, size_t channels) {
    return {spectrum_row(channels), rows * spectrum_row(channels) + kSpectrumGap};
}

// A convolution and its transforms, for the tiles and channels that the caller names.
class Layer {
  public:
    // `takers` threads share the panels of output channels.
    Layer(const KernelTable& k, const Conv2dShape& s, size_t takers)
        : k_(k), s_(s), p_(s), panels_(k, s.group_out(), takers) {}

    const Problem& problem() const { return p_; }
    const Panels& panels() const { return panels_; }

    // Spectra of some channels of the weights, in panels: [frequency][panel][channel][width].
    // What other threads read goes past the caches: lines that another core has are slow to write.
    void transform_weights(Weights weights, size_t group, Range channels, Range panels,
                           float* memory, float* spectra, size_t panel_size, size_t frequency_size,
                           bool past) const {
        const size_t width = panels_.width;
        const Range outputs{panels_[panels.begin].begin, panels_[panels.end - 1].end};
        Transform transform = weight_transform(k_, p_.tiling);
        transform.past = past;
        for (size_t channel = channels.begin; channel < channels.end; ++channel) {
            if ((channel - channels.begin) % Weights::kChannels == 0) {
                weights.set_channels(
                    group, {channel, std::min(channel + Weights::kChannels, channels.end)}, outputs,
                    memory);
            }
            const float* in[kPlaces];
            weights.places(channel, in);
            float* out[kPlaces];
            for (size_t f = 0; f < p_.tiling.frequencies(); ++f) {
                out[f] = spectra + f * frequency_size + (channel - channels.begin) * width;
            }
            for (size_t panel = 0; panel < panels.size(); ++panel) {
                const size_t columns = std::min(width, outputs.size() - panel * width);
                for (size_t j = 0; j < columns; j += k_.lanes) {
                    transform(in, panel * width + j, std::min(k_.lanes, columns - j), out,
                              panel * panel_size + j, k_.lanes);
                }
            }
        }
    }

    // Spectra of one of some rows of tiles, in matrices that begin with the first of them. The
    // pixels of the row after it are fetched meanwhile.
    void transform_input(Source& source, size_t group, Range rows, size_t row, Spectra size,
                         float* in) const {
        const float* pixels[kPlaces];
        source.set_tile_row(row);
        SpectrumPlaces places(p_.tiling, rows.begin, row, in, size.row, size.frequency);
        Fetching fetching(source.pixels({row + 1, std::min(row + 2, rows.end)}),
                          p_.tiling.horizontal.tiles * ceil_div(p_.group_in, k_.lanes));
        for (size_t q = 0; q < p_.tiling.horizontal.tiles; ++q) {
            source.places(q, group, pixels);
            float* const* frequencies = places.next();
            const Transform transform =
                input_transform(k_, p_.tiling, row % p_.tiling.vertical.tiles, q);
            for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
                const size_t lanes = std::min(k_.lanes, p_.group_in - c);
                transform(pixels, c, lanes, frequencies, c, lanes);
                fetching.next_share();
            }
        }
    }

    // Products of some rows of tiles with one panel of the weights at frequency f, over the `depth`
    // channels that `in` and `panel` begin with; `resume` goes on with the sums of those before.
    void multiply(size_t f, Range rows, size_t depth, const float* in, Spectra in_size,
                  const float* panel, size_t ahead, Range columns, bool resume, float* out,
                  Spectra out_size) const {
        const Product product{p_.tiling.tiles_with(f, rows),
                              in + f * in_size.frequency,
                              in_size.row,
                              1,
                              panels_.width,
                              out + f * out_size.frequency,
                              out_size.row,
                              ahead};
        constexpr GemmEpilogue kResume{false, nullptr, false, false, true};
        multiply_in_pieces(k_, product, depth, panel, columns, resume ? kResume : GemmEpilogue{},
                           kResume);
    }

    // Outputs of a row of tiles from its products, which are those of `columns`, in matrices that
    // begin with row `first`. `bias` and `y` begin with the group's channels.
    void transform_output(size_t first, size_t row, float* out, Spectra size, Range columns,
                          const float* bias, bool relu, float* y) const {
        SpectrumPlaces places(p_.tiling, first, row, out, size.row, size.frequency);
        OutputPlaces<float> outputs(s_, p_.tiling, row, y);
        for (size_t q = 0; q < p_.tiling.horizontal.tiles; ++q) {
            float* const* frequencies = places.next();
            float* const* pixels = outputs.next();
            const Transform transform =
                output_transform(k_, p_.tiling, row % p_.tiling.vertical.tiles, q);
            for (size_t o = columns.begin; o < columns.end; o += k_.lanes) {
                const size_t lanes = std::min(k_.lanes, columns.end - o);
                transform(frequencies, o - columns.begin, lanes, pixels, o, lanes, bias, relu);
            }
        }
    }

  private:
    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem p_;
    Panels panels_;
};

// The spectra of all weights: for each group and frequency a matrix in panels.
class WeightSpectra {
  public:
    WeightSpectra(const Conv2dShape& s, const Layer& layer)
        : groups_(s.groups),
          channels_(layer.problem().group_in),
          panels_(layer.panels()),
          panel_(channels_ * panels_.width),
          frequency_(panels_.size(channels_) + kSpectrumGap),
          group_(padded(layer.problem().tiling.frequencies() * frequency_)),
          memory_(scratch(Slot::kPackedB, s.groups * group_)) {}

    // So many tasks, some input channels of a group each; `memory` is the thread's for `weights`.
    size_t tasks() const { return groups_ * ceil_div(channels_, Weights::kChannels); }
    void transform(const Layer& layer, const Weights& weights, size_t task, float* memory) const {
        const size_t group = task % groups_, first = task / groups_ * Weights::kChannels;
        const Range channels{first, std::min(first + Weights::kChannels, channels_)};
        layer.transform_weights(weights, group, channels, {0, panels_.count}, memory,
                                memory_ + group * group_ + first * panels_.width, panel_,
                                frequency_, true);
    }

    size_t panel_size() const { return panel_; }
    const float* panel(size_t group, size_t f, size_t i) const {
        return memory_ + group * group_ + f * frequency_ + i * panel_;
    }

  private:
    size_t groups_, channels_;
    const Panels& panels_;
    size_t panel_, frequency_, group_;
    float* memory_;
};

// --- many images: the spectra of all weights first, then tasks own rows of tiles ----------------

// Tasks of some tiles, as many for each thread. The spectra of the weights come from L3 once for
// each task, those of its tiles are written and read again: with half as many of these, both are
// the same. What is much larger than L2, however, does not stay near.
size_t tasks_for(const Conv2dShape& s, const Problem& p, size_t threads) {
    const size_t rows = s.batch * p.tiling.vertical.tiles;
    const size_t weights = p.tiling.frequencies() * p.group_in * s.group_out();
    const size_t tile = p.tiling.products() * (p.group_in + s.group_out()) / p.tiling.tiles();
    const size_t spectra = std::min(weights / 2, 3 * l2_cache_bytes() / sizeof(float));
    const size_t rows_a_task =
        ceil_div(std::max(kTilesATask, spectra / tile), p.tiling.horizontal.tiles);
    return std::min(rows, threads * ceil_div(ceil_div(rows, threads), rows_a_task));
}

void forward_by_rows(const Layer& layer, const Conv2dShape& s, const float* x,
                     const Weights& weights, const float* bias, bool relu, const float* zeros,
                     float* y) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem& p = layer.problem();
    const size_t frequencies = p.tiling.frequencies();
    const Panels& panels = layer.panels();
    const WeightSpectra spectra(s, layer);
    const Slices own_memory(Slot::kColumns, team, weights.memory_size(s.group_out()));
    parallel_tasks(threads, spectra.tasks(), [&](size_t task, size_t thread) {
        spectra.transform(layer, weights, task, own_memory[thread]);
        k.stream_fence();
    });

    const size_t total = s.batch * p.tiling.vertical.tiles;
    const size_t tasks = tasks_for(s, p, team);
    const size_t most_tiles = ceil_div(total, tasks) * p.tiling.horizontal.tiles;
    const Spectra in_size = spectra_size(most_tiles, p.group_in);
    const Spectra out_size = spectra_size(most_tiles, s.group_out());
    const size_t in_floats = frequencies * in_size.frequency;
    const size_t out_floats = frequencies * out_size.frequency;
    const Slices memory(Slot::kFrames, team, in_floats + out_floats + Source::frame_size(s, p));
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const Range range = part(total, tasks, task);
        float* in = memory[thread];
        float* out = in + in_floats;
        Source source(k, s, p, x, out + out_floats, zeros);
        Fetching fetching(source.pixels(task + 1 < tasks ? part(total, tasks, task + 1) : Range{}),
                          s.groups * frequencies);
        for (size_t group = 0; group < s.groups; ++group) {
            for (size_t row = range.begin; row < range.end; ++row) {
                layer.transform_input(source, group, range, row, in_size, in);
            }
            for (size_t f = 0; f < frequencies; ++f) {
                fetching.next_share();
                for (size_t i = 0; i < panels.count; ++i) {
                    layer.multiply(f, range, p.group_in, in, in_size, spectra.panel(group, f, i),
                                   spectra.panel_size(), panels[i], false, out, out_size);
                }
            }
            const size_t channel = group * s.group_out();
            for (size_t row = range.begin; row < range.end; ++row) {
                layer.transform_output(range.begin, row, out, out_size, {0, s.group_out()},
                                       bias ? bias + channel : nullptr, relu, y + channel);
            }
        }
        k.stream_fence();
    });
}

// --- fewer images: the spectra of a block of tiles as well, then tasks own frequencies ----------

// Whether the spectra of the tiles are so few, beside those of the weights, that it is better to
// pass them from thread to thread than to read those of the weights once a thread. Tasks are many
// and small, too: all threads are done at about the same time.
bool fewer_images(const Conv2dShape& s, const Problem& p) {
    const size_t tiles = s.batch * p.tiling.products() * (p.group_in + s.group_out());
    return tiles < kTilesForWeights * p.tiling.frequencies() * p.group_in * s.group_out();
}

void forward_by_frequencies(const Layer& layer, const Conv2dShape& s, const float* x,
                            const Weights& weights, const float* bias, bool relu,
                            const float* zeros, float* y) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem& p = layer.problem();
    const size_t frequencies = p.tiling.frequencies();
    const Panels& panels = layer.panels();
    const size_t total = s.batch * p.tiling.vertical.tiles;
    const size_t block_rows = rows_a_block(s, p, kBlockFloats);
    const size_t tiles = block_rows * p.tiling.horizontal.tiles;
    const Spectra in_size = spectra_size(tiles, p.group_in);
    const Spectra out_size = spectra_size(tiles, s.group_out());
    const size_t in_floats = padded(frequencies * in_size.frequency);
    const size_t out_floats = padded(frequencies * out_size.frequency);
    const WeightSpectra spectra(s, layer);
    const size_t memory_size = padded(weights.memory_size(s.group_out()));
    const Slices own_memory(Slot::kColumns, team, memory_size + Source::frame_size(s, p));
    const Slices memory(Slot::kFrames, 1, s.groups * (in_floats + out_floats));
    float* in = memory[0];
    float* out = in + s.groups * in_floats;

    for (size_t first = 0; first < total; first += block_rows) {
        const Range block{first, std::min(first + block_rows, total)};
        const size_t weight_tasks = first == 0 ? spectra.tasks() : 0;
        const size_t row_tasks = s.groups * block.size();
        parallel_tasks(threads, weight_tasks + row_tasks, [&](size_t task, size_t thread) {
            float* own = own_memory[thread];
            if (task < weight_tasks) {
                spectra.transform(layer, weights, task, own);
                k.stream_fence();
                return;
            }
            task -= weight_tasks;
            const size_t group = task / block.size(), row = first + task % block.size();
            Source source(k, s, p, x, own + memory_size, zeros);
            layer.transform_input(source, group, block, row, in_size, in + group * in_floats);
        });
        parallel_tasks(threads, s.groups * frequencies * panels.count, [&](size_t task, size_t) {
            const size_t i = task % panels.count, f = task / panels.count % frequencies;
            const size_t group = task / (panels.count * frequencies);
            layer.multiply(f, block, p.group_in, in + group * in_floats, in_size,
                           spectra.panel(group, f, i), spectra.panel_size(), panels[i], false,
                           out + group * out_floats, out_size);
        });
        parallel_tasks(threads, row_tasks, [&](size_t task, size_t) {
            const size_t group = task / block.size(), row = first + task % block.size();
            const size_t channel = group * s.group_out();
            layer.transform_output(first, row, out + group * out_floats, out_size,
                                   {0, s.group_out()}, bias ? bias + channel : nullptr, relu,
                                   y + channel);
            k.stream_fence();
        });
    }
}

// --- few images: each thread has the spectra of all inputs, tasks own panels of output channels --

void forward_by_panels(const Layer& layer, const Conv2dShape& s, const float* x,
                       const Weights& weights, const float* bias, bool relu, const float* zeros,
                       float* y) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem& p = layer.problem();
    const size_t frequencies = p.tiling.frequencies();
    const size_t rows = s.batch * p.tiling.vertical.tiles;
    const size_t tiles = s.batch * p.tiling.tiles();
    const Spectra in_size = spectra_size(tiles, p.group_in);
    const Panels& all_panels = layer.panels();
    const size_t width = all_panels.width;
    const Spectra out_size{width, tiles * width + kSpectrumGap};

    // The weights' spectra of a panel are used at once, some input channels at a time.
    const size_t chunks = ceil_div(frequencies * p.group_in * width, kPanelFloats);
    const size_t weight_size =  // of a frequency
        ceil_div(p.group_in, chunks) * width + kSpectrumGap;
    const size_t in_floats = padded(frequencies * in_size.frequency);
    const size_t weight_floats = padded(frequencies * weight_size);
    const size_t out_floats = padded(frequencies * out_size.frequency);
    // A task owns neighbouring panels: what it reads of the weights are runs of some lines.
    const size_t splits = std::min(all_panels.count, team);
    const size_t other_floats = std::max(weight_floats + out_floats, Source::frame_size(s, p));
    const Slices memory(Slot::kFrames, team, in_floats + other_floats);
    const Slices own_memory(Slot::kColumns, team, weights.memory_size(width));
    std::vector<size_t> ready_group(team, s.groups);  // whose inputs a thread has

    parallel_tasks(threads, s.groups * splits, [&](size_t task, size_t thread) {
        const size_t group = task / splits;
        const Range panels = part(all_panels.count, splits, task % splits);
        float* in = memory[thread];
        float* weight_spectra = in + in_floats;
        float* out = weight_spectra + weight_floats;
        if (ready_group[thread] != group) {
            Source source(k, s, p, x, weight_spectra, zeros);
            for (size_t row = 0; row < rows; ++row) {
                layer.transform_input(source, group, {0, rows}, row, in_size, in);
            }
            ready_group[thread] = group;
        }
        const size_t channel = group * s.group_out();
        for (size_t panel = panels.begin; panel < panels.end; ++panel) {
            const Range columns = all_panels[panel];
            for (size_t chunk = 0; chunk < chunks; ++chunk) {
                const Range channels = part(p.group_in, chunks, chunk);
                layer.transform_weights(weights, group, channels, {panel, panel + 1},
                                        own_memory[thread], weight_spectra, 0, weight_size, false);
                const bool is_last = chunk + 1 == chunks;
                const Range next_channels = part(p.group_in, chunks, is_last ? 0 : chunk + 1);
                const size_t next_panel = std::min(panel + is_last, panels.end - 1);
                for (size_t f = 0; f < frequencies; ++f) {
                    // The products wait for no memory: what is transformed next comes meanwhile.
                    weights.fetch(group, next_channels, all_panels[next_panel], frequencies, f);
                    layer.multiply(f, {0, rows}, channels.size(), in + channels.begin, in_size,
                                   weight_spectra + f * weight_size, 0, {0, columns.size()},
                                   chunk > 0, out, out_size);
                }
            }
            for (size_t row = 0; row < rows; ++row) {
                layer.transform_output(0, row, out, out_size, columns,
                                       bias ? bias + channel : nullptr, relu, y + channel);
            }
        }
        k.stream_fence();
    });
}

// The convolution of a shape, with its weights as they are or turned.
void convolve(const Conv2dShape& s, const float* x, const float* weight, bool turned,
              const float* bias, bool relu, float* y) {
    const Problem p(s);
    const bool few = few_images(s.batch, p.tiling, p.group_in, s.group_out());
    const Layer layer(kernels(), s, few ? static_cast<size_t>(num_threads()) : 1);
    const size_t zeros_size = std::max(p.group_in, s.out_channels);
    float* zeros = scratch(Slot::kPartialSums, zeros_size);
    std::fill_n(zeros, zeros_size, 0.0f);
    const Weights weights(kernels(), s, p, weight, turned, zeros);
    const auto way = few                  ? forward_by_panels
                     : fewer_images(s, p) ? forward_by_frequencies
                                          : forward_by_rows;
    way(layer, s, x, weights, bias, relu, zeros, y);
}

}  // namespace

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y) {
    convolve(s, x, weight, false, bias, relu, y);
}

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    const Conv2dShape turned_shape{s.batch,
                                   s.out_height,
                                   s.out_width,
                                   s.out_channels,
                                   s.in_height,
                                   s.in_width,
                                   s.in_channels,
                                   s.kernel_height,
                                   s.kernel_width,
                                   1,
                                   1,
                                   s.kernel_height - 1 - s.pad_top,
                                   s.kernel_width - 1 - s.pad_left,
                                   s.groups};
    convolve(turned_shape, dy, weight, true, nullptr, false, dx);
}

}  // namespace alexnet::cpu::winograd
