// Convolution by Winograd's minimal filtering: fewer multiplications for more additions. The input
// of each tile is transformed to a value at each frequency; there the convolution is a product of
// matrices over the channels, on the same register tile as everything else; the products are
// transformed back to outputs, with bias and ReLU on the way. winograd.h says how tiles and
// frequencies are laid out, microkernels/winograd.cpp what the transforms are.
//
// backward_input is the same with the weights flipped by 180° and transposed; conv2d_winograd_weight
// is the gradient with respect to the weights.
//
// Cost: 2 · in · out · Tiling::products() FLOP an image: for 13 × 13 outputs of a 3 × 3 window 361
// instead of 1521, for 27 × 27 of a 5 × 5 window 3025 instead of 18225. The spectra of the weights
// are (points / window)² times the weights, so few tiles do not pay (conv2d.cpp decides).
// Threads: with many images, tasks own some rows of tiles, as few as do not read the weights'
// spectra too often; with fewer, the transforms come first, and tasks own frequencies; with few,
// tasks own output channels and transform their weights on the way.
// Numerics: error of the transforms about 2e-6 to 5e-6 of the largest values in a tile's reach;
// winograd.h says which images are left to direct for that. Each product is one chain of FMAs over
// the channels (microkernels/gemm.cpp). The same bits for every partition.

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
struct ElementMatrices {
    size_t row, element;
};

ElementMatrices element_matrices(size_t rows, size_t channels) {
    return {element_row(channels), Size{rows} * element_row(channels) + kElementGap};
}

// The convolution of a shape, with its weights as they are or flipped.
class Convolution {
  public:
    Convolution(const Conv2dShape& s, const float* x, const float* weight, bool flipped,
                const float* bias, bool relu, float* y)
        : k_(kernels()),
          s_(s),
          p_(s),
          elements_(p_.tiling.elements()),
          rows_(s.batch * p_.tiling.vertical.tiles),
          threads_(num_threads()),
          team_(static_cast<size_t>(threads_)),
          few_(few_images(s.batch, p_.tiling, p_.group_in, s.group_out())),
          panels_(k_, s.group_out(), few_ ? team_ : 1),
          x_(x),
          bias_(bias),
          relu_(relu),
          y_(y),
          zeros_(zeros(std::max(p_.group_in, s.out_channels))),
          weights_(k_, s, p_, weight, flipped, zeros_),
          left_(s.batch) {}

    Convolution(const Convolution&) = delete;
    Convolution& operator=(const Convolution&) = delete;

    // Computes y, and returns the images that it leaves to the direct algorithm.
    const Left& run() {
        if (few_) {
            by_panels();
        } else if (fewer_images()) {
            by_elements();
        } else {
            by_rows();
        }
        return left_;
    }

  private:
    class TransformedWeights;

    void by_rows();
    void by_elements();
    void by_panels();
    bool fewer_images() const;
    size_t tasks_by_rows() const;

    // --- its parts, for the tiles and channels that the caller names

    Source source_in(float* frame) const { return {k_, s_, p_, x_, frame, zeros_}; }
    void transform_weights(size_t group, Range channels, Range panels, float* memory,
                           float* transformed, size_t panel_size, size_t frequency_size, bool past);
    void transform_input(Source& source, size_t group, Range rows, size_t row, ElementMatrices size,
                         float* in);
    void multiply(size_t f, Range rows, size_t depth, const float* in, ElementMatrices in_size,
                  const float* panel, size_t prefetch_distance, Range columns, bool resume,
                  float* out, ElementMatrices out_size) const;
    void transform_output(size_t first, size_t row, float* out, ElementMatrices size, size_t group,
                          Range columns);

    static const float* zeros(size_t count) {
        float* memory = scratch(Slot::kOutside, Size{count});
        std::fill_n(memory, count, 0.0f);
        return memory;
    }

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem p_;
    const size_t elements_;
    const size_t rows_;  // of tiles
    const int threads_;
    const size_t team_;  // the same
    const bool few_;
    const Panels panels_;  // of output channels; with few images, threads share them
    const float* const x_;
    const float* const bias_;
    const bool relu_;
    float* const y_;
    const float* const zeros_;
    const Weights weights_;
    Left left_;
};

// ElementMatrices of some channels of the weights, in panels: [frequency][panel][channel][width].
// What other threads read goes past the caches: lines that another core has are slow to write.
void Convolution::transform_weights(size_t group, Range channels, Range panels, float* memory,
                                    float* transformed, size_t panel_size, size_t frequency_size,
                                    bool past) {
    Weights weights = weights_;  // its own: of the channels that are ready
    const size_t width = panels_.width;
    const Range outputs{panels_[panels.begin].begin, panels_[panels.end - 1].end};
    Transform transform = weight_transform(k_, p_.tiling);
    transform.past = past;
    for (size_t channel = channels.begin; channel < channels.end; ++channel) {
        if ((channel - channels.begin) % Weights::kChannels == 0) {
            weights.set_channels(group,
                                 {channel, std::min(channel + Weights::kChannels, channels.end)},
                                 outputs, memory);
        }
        const float* in[kPlaces];
        weights.places(channel, in);
        float* out[kPlaces];
        for (size_t f = 0; f < elements_; ++f) {
            out[f] = transformed + f * frequency_size + (channel - channels.begin) * width;
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

// ElementMatrices of one of some rows of tiles, in matrices that begin with the first of them. The
// pixels of the row after it are fetched meanwhile.
void Convolution::transform_input(Source& source, size_t group, Range rows, size_t row,
                                  ElementMatrices size, float* in) {
    const float* pixels[kPlaces];
    source.set_tile_row(row);
    if (!source.is_alike(group)) left_.add(row / p_.tiling.vertical.tiles);
    TileElementPointers places(p_.tiling, rows.begin, row, in, size.row, size.element);
    Prefetcher prefetcher(source.pixels({row + 1, std::min(row + 2, rows.end)}),
                          p_.tiling.horizontal.tiles * ceil_div(p_.group_in, k_.lanes));
    for (size_t q = 0; q < p_.tiling.horizontal.tiles; ++q) {
        source.places(q, group, pixels);
        float* const* elements = places.next();
        const Transform transform =
            input_transform(k_, p_.tiling, row % p_.tiling.vertical.tiles, q);
        for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, p_.group_in - c);
            transform(pixels, c, lanes, elements, c, lanes);
            prefetcher.next_share();
        }
    }
}

// Products of some rows of tiles with one panel of the weights at frequency f, over the `depth`
// channels that `in` and `panel` begin with; `resume` goes on with the sums of those before.
void Convolution::multiply(size_t f, Range rows, size_t depth, const float* in,
                           ElementMatrices in_size, const float* panel, size_t prefetch_distance,
                           Range columns, bool resume, float* out, ElementMatrices out_size) const {
    const Product product{p_.tiling.tiles_with(f, rows),
                          in + f * in_size.element,
                          in_size.row,
                          1,
                          panels_.width,
                          out + f * out_size.element,
                          out_size.row,
                          prefetch_distance};
    constexpr GemmEpilogue kSet{false, nullptr, false, false, false, true};
    constexpr GemmEpilogue kResume{false, nullptr, false, false, true, true};
    multiply_in_pieces(k_, product, depth, panel, columns, resume ? kResume : kSet, kResume);
}

// Outputs of a row of tiles from its products, which are those of `columns` of the group, in
// matrices that begin with row `first`.
void Convolution::transform_output(size_t first, size_t row, float* out, ElementMatrices size,
                                   size_t group, Range columns) {
    const size_t channel = group * s_.group_out();
    const float* bias = bias_ ? bias_ + channel : nullptr;
    TileElementPointers places(p_.tiling, first, row, out, size.row, size.element);
    OutputPointers<float> outputs(s_, p_.tiling, row, y_ + channel);
    bool finite = true;
    for (size_t q = 0; q < p_.tiling.horizontal.tiles; ++q) {
        float* const* elements = places.next();
        float* const* pixels = outputs.next();
        const Transform transform =
            output_transform(k_, p_.tiling, row % p_.tiling.vertical.tiles, q);
        for (size_t o = columns.begin; o < columns.end; o += k_.lanes) {
            const size_t lanes = std::min(k_.lanes, columns.end - o);
            finite &= transform(elements, o - columns.begin, lanes, pixels, o, lanes, bias, relu_);
        }
    }
    if (!finite) left_.add(row / p_.tiling.vertical.tiles);
}

// The spectra of all weights: for each group and frequency a matrix in panels.
class Convolution::TransformedWeights {
  public:
    explicit TransformedWeights(Convolution& c)
        : c_(c),
          panel_(Size{c.p_.group_in} * c.panels_.width),
          element_(c.panels_.size(c.p_.group_in) + kElementGap),
          group_(padded(Size{c.elements_} * element_)),
          memory_(scratch(Slot::kPackedPanels, Size{c.s_.groups} * group_)) {}

    // So many tasks, some input channels of a group each; `memory` is the thread's.
    size_t tasks() const { return c_.s_.groups * ceil_div(c_.p_.group_in, Weights::kChannels); }
    void transform(size_t task, float* memory) const {
        const size_t group = task % c_.s_.groups;
        const size_t first = task / c_.s_.groups * Weights::kChannels;
        const Range channels{first, std::min(first + Weights::kChannels, c_.p_.group_in)};
        c_.transform_weights(group, channels, {0, c_.panels_.count}, memory,
                             memory_ + group * group_ + first * c_.panels_.width, panel_, element_,
                             true);
        c_.k_.stream_fence();
    }
    Size task_memory() const { return padded(c_.weights_.memory_size(c_.s_.group_out())); }

    size_t panel_size() const { return panel_; }
    const float* panel(size_t group, size_t f, size_t i) const {
        return memory_ + group * group_ + f * element_ + i * panel_;
    }

  private:
    Convolution& c_;
    size_t panel_, element_, group_;
    float* memory_;
};

// --- many images: the spectra of all weights first, then tasks own rows of tiles ----------------

// Tasks of some tiles, as many for each thread. The spectra of the weights come from L3 once for
// each task, those of its tiles are written and read again: with half as many of these, both are
// the same. What is much larger than L2, however, does not stay near.
size_t Convolution::tasks_by_rows() const {
    const size_t weights = elements_ * p_.group_in * s_.group_out();
    const size_t tile = p_.tiling.products() * (p_.group_in + s_.group_out()) / p_.tiling.tiles();
    const size_t transformed = std::min(weights / 2, 3 * l2_cache_bytes() / sizeof(float));
    const size_t rows_a_task =
        ceil_div(std::max(kTilesATask, transformed / tile), p_.tiling.horizontal.tiles);
    return std::min(rows_, team_ * ceil_div(ceil_div(rows_, team_), rows_a_task));
}

void Convolution::by_rows() {
    const TransformedWeights weights(*this);
    const Slices own_memory(Slot::kThreadOperand, team_, weights.task_memory());
    parallel_tasks(threads_, weights.tasks(), [&](size_t task, size_t thread) {
        weights.transform(task, own_memory[thread]);
    });

    const size_t tasks = tasks_by_rows();
    const size_t most_tiles = ceil_div(rows_, tasks) * p_.tiling.horizontal.tiles;
    const ElementMatrices in_size = element_matrices(most_tiles, p_.group_in);
    const ElementMatrices out_size = element_matrices(most_tiles, s_.group_out());
    const Size in_floats = Size{elements_} * in_size.element;
    const Size out_floats = Size{elements_} * out_size.element;
    const Slices memory(Slot::kThreadMemory, team_,
                        in_floats + out_floats + Source::frame_size(s_, p_));
    parallel_tasks(threads_, tasks, [&](size_t task, size_t thread) {
        const Range range = part(rows_, tasks, task);
        float* in = memory[thread];
        float* out = in + in_floats;
        Source source = source_in(out + out_floats);
        Prefetcher prefetcher(
            source.pixels(task + 1 < tasks ? part(rows_, tasks, task + 1) : Range{}),
            s_.groups * elements_);
        for (size_t group = 0; group < s_.groups; ++group) {
            for (size_t row = range.begin; row < range.end; ++row) {
                transform_input(source, group, range, row, in_size, in);
            }
            for (size_t f = 0; f < elements_; ++f) {
                prefetcher.next_share();
                for (size_t i = 0; i < panels_.count; ++i) {
                    multiply(f, range, p_.group_in, in, in_size, weights.panel(group, f, i),
                             weights.panel_size(), panels_[i], false, out, out_size);
                }
            }
            for (size_t row = range.begin; row < range.end; ++row) {
                transform_output(range.begin, row, out, out_size, group, {0, s_.group_out()});
            }
        }
        k_.stream_fence();
    });
}

// --- fewer images: the spectra of a block of tiles as well, then tasks own frequencies ----------

// Whether the spectra of the tiles are so few, beside those of the weights, that it is better to
// pass them from thread to thread than to read those of the weights once a thread. Tasks are many
// and small, too: all threads are done at about the same time.
bool Convolution::fewer_images() const {
    const size_t tiles = s_.batch * p_.tiling.products() * (p_.group_in + s_.group_out());
    return tiles < kTilesForWeights * elements_ * p_.group_in * s_.group_out();
}

void Convolution::by_elements() {
    const size_t block_rows = rows_a_block(s_, p_, kBlockFloats);
    const size_t tiles = block_rows * p_.tiling.horizontal.tiles;
    const ElementMatrices in_size = element_matrices(tiles, p_.group_in);
    const ElementMatrices out_size = element_matrices(tiles, s_.group_out());
    const size_t in_floats = padded(Size{elements_} * in_size.element);
    const size_t out_floats = padded(Size{elements_} * out_size.element);
    const TransformedWeights weights(*this);
    const Size weight_memory = weights.task_memory();
    const Slices own_memory(Slot::kThreadOperand, team_,
                            weight_memory + Source::frame_size(s_, p_));
    const Slices memory(Slot::kThreadMemory, 1, s_.groups * (Size{in_floats} + out_floats));
    float* in = memory[0];
    float* out = in + s_.groups * in_floats;

    for (size_t first = 0; first < rows_; first += block_rows) {
        const Range block{first, std::min(first + block_rows, rows_)};
        const size_t weight_tasks = first == 0 ? weights.tasks() : 0;
        const size_t row_tasks = s_.groups * block.size();
        parallel_tasks(threads_, weight_tasks + row_tasks, [&](size_t task, size_t thread) {
            float* own = own_memory[thread];
            if (task < weight_tasks) {
                weights.transform(task, own);
                return;
            }
            task -= weight_tasks;
            const size_t group = task / block.size(), row = first + task % block.size();
            Source source = source_in(own + weight_memory);
            transform_input(source, group, block, row, in_size, in + group * in_floats);
        });
        const size_t panels = panels_.count;
        parallel_tasks(threads_, s_.groups * elements_ * panels, [&](size_t task, size_t) {
            const size_t i = task % panels, f = task / panels % elements_;
            const size_t group = task / (panels * elements_);
            multiply(f, block, p_.group_in, in + group * in_floats, in_size,
                     weights.panel(group, f, i), weights.panel_size(), panels_[i], false,
                     out + group * out_floats, out_size);
        });
        parallel_tasks(threads_, row_tasks, [&](size_t task, size_t) {
            const size_t group = task / block.size(), row = first + task % block.size();
            transform_output(first, row, out + group * out_floats, out_size, group,
                             {0, s_.group_out()});
            k_.stream_fence();
        });
    }
}

// --- few images: each thread has the spectra of all inputs, tasks own panels of output channels --

void Convolution::by_panels() {
    const ElementMatrices in_size =
        element_matrices(rows_ * p_.tiling.horizontal.tiles, p_.group_in);
    const size_t width = panels_.width;
    const ElementMatrices out_size{width,
                                   Size{rows_} * p_.tiling.horizontal.tiles * width + kElementGap};

    // The weights' spectra of a panel are used at once, some input channels at a time.
    const size_t chunks = ceil_div(elements_ * p_.group_in * width, kPanelFloats);
    const size_t weight_size =  // of a frequency
        ceil_div(p_.group_in, chunks) * width + kElementGap;
    const Size in_floats = padded(Size{elements_} * in_size.element);
    const Size weight_floats = padded(Size{elements_} * weight_size);
    const Size out_floats = padded(Size{elements_} * out_size.element);
    // A task owns neighbouring panels: what it reads of the weights are runs of some lines.
    const size_t splits = std::min(panels_.count, team_);
    const Size other_floats = std::max(weight_floats + out_floats, Source::frame_size(s_, p_));
    const Slices memory(Slot::kThreadMemory, team_, in_floats + other_floats);
    const Slices own_memory(Slot::kThreadOperand, team_, weights_.memory_size(width));
    std::vector<size_t> ready_group(team_, s_.groups);  // whose inputs a thread has

    parallel_tasks(threads_, s_.groups * splits, [&](size_t task, size_t thread) {
        const size_t group = task / splits;
        const Range panels = part(panels_.count, splits, task % splits);
        float* in = memory[thread];
        float* weights = in + in_floats;
        float* out = weights + weight_floats;
        if (ready_group[thread] != group) {
            Source source = source_in(weights);
            for (size_t row = 0; row < rows_; ++row) {
                transform_input(source, group, {0, rows_}, row, in_size, in);
            }
            ready_group[thread] = group;
        }
        for (size_t panel = panels.begin; panel < panels.end; ++panel) {
            const Range columns = panels_[panel];
            for (size_t chunk = 0; chunk < chunks; ++chunk) {
                const Range channels = part(p_.group_in, chunks, chunk);
                transform_weights(group, channels, {panel, panel + 1}, own_memory[thread], weights,
                                  0, weight_size, false);
                const bool is_last = chunk + 1 == chunks;
                const Range next_channels = part(p_.group_in, chunks, is_last ? 0 : chunk + 1);
                const size_t next_panel = std::min(panel + is_last, panels.end - 1);
                for (size_t f = 0; f < elements_; ++f) {
                    // The products wait for no memory: what is transformed next comes meanwhile.
                    weights_.fetch(group, next_channels, panels_[next_panel], elements_, f);
                    multiply(f, {0, rows_}, channels.size(), in + channels.begin, in_size,
                             weights + f * weight_size, 0, {0, columns.size()}, chunk > 0, out,
                             out_size);
                }
            }
            for (size_t row = 0; row < rows_; ++row) {
                transform_output(0, row, out, out_size, group, columns);
            }
        }
        k_.stream_fence();
    });
}

// Some images of a batch.
Conv2dShape part_of(Conv2dShape s, Range images) {
    s.batch = images.size();
    return s;
}

}  // namespace

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y) {
    Convolution convolution(s, x, weight, false, bias, relu, y);
    convolution.run().for_each_run([&](Range images) {
        direct::forward(part_of(s, images), x + s.input_pixel(images.begin, 0, 0), weight, bias,
                        relu, y + s.output_pixel(images.begin, 0, 0));
    });
}

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    const Conv2dShape flipped_shape{s.batch,
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
    Convolution convolution(flipped_shape, dy, weight, true, nullptr, false, dx);
    convolution.run().for_each_run([&](Range images) {
        direct::backward_input(part_of(s, images), dy + s.output_pixel(images.begin, 0, 0), weight,
                               dx + s.input_pixel(images.begin, 0, 0));
    });
}

}  // namespace alexnet::cpu::winograd
