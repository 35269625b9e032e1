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
// Threads: tasks own images, a few at a time so that spectra stay in the caches.
// Numerics: relative L2 error about 2e-6 to 5e-6, of the transforms; the products are summed as in
// microkernels/gemm.cpp. The same bits for every partition.

#include "conv2d.h"
#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "scratch.h"
#include "winograd.h"

namespace alexnet::cpu::winograd {
namespace {

constexpr size_t kRowsATask = 64;        // of the products: they share one pass over the weights
constexpr size_t kTaskFloats = 4 << 20;  // of the spectra of a task that is more than one image

// The spectra of the weights, in packed panels: [group][frequency][panel][channel][gemm_nr].
struct WeightSpectra {
    WeightSpectra(const KernelTable& k, const Conv2dShape& s, const Problem& p)
        : panel(p.group_in * k.gemm_nr),
          frequency(panel_count(k, s.group_out()) * panel),
          group(p.tiling.frequencies() * frequency) {}
    size_t panel, frequency, group;  // floats from one to the next
};

void transform_weights(const KernelTable& k, const Conv2dShape& s, const Problem& p,
                       const float* weight, const float* zeros, const WeightSpectra& size,
                       float* spectra, int threads) {
    const Transform transform = weight_transform(k, p.tiling);
    const size_t panels = panel_count(k, s.group_out());
    parallel_tasks(threads, s.groups * p.group_in, [&](size_t task, size_t) {
        const size_t group = task / p.group_in, channel = task % p.group_in;
        const float* in[kPlaces];
        weight_places(s, p, weight, zeros, group, channel, in);
        float* out[kPlaces];
        for (size_t f = 0; f < p.tiling.frequencies(); ++f) {
            out[f] = spectra + group * size.group + f * size.frequency + channel * k.gemm_nr;
        }
        for (size_t panel = 0; panel < panels; ++panel) {
            for (size_t j = 0; j < k.gemm_nr; j += k.lanes) {
                // Columns beyond the last are transformed too, from no lanes at all: zeros.
                const size_t column = std::min(panel * k.gemm_nr + j, s.group_out());
                const size_t n = std::min(k.lanes, s.group_out() - column);
                transform(in, column, n, out, panel * size.panel + j, k.lanes);
            }
        }
    });
}

// One thread's part of a convolution: some images of one group at a time.
class Worker {
  public:
    Worker(const KernelTable& k, const Conv2dShape& s, const Problem& p, size_t images)
        : k_(k),
          s_(s),
          p_(p),
          in_row_(spectrum_row(p.group_in)),
          out_row_(spectrum_row(s.group_out())),
          in_frequency_(images * p.tiling.tiles() * in_row_ + kSpectrumGap),
          out_frequency_(images * p.tiling.tiles() * out_row_ + kSpectrumGap) {}

    // Floats of working memory for one thread.
    size_t memory() const {
        return p_.tiling.frequencies() * (in_frequency_ + out_frequency_) +
               Source::frame_size(s_, p_);
    }

    void run(Range images, const float* x, const float* spectra, const WeightSpectra& size,
             const float* bias, bool relu, const float* zeros, float* memory, float* y) const {
        float* in = memory;
        float* out = in + p_.tiling.frequencies() * in_frequency_;
        Source source(k_, s_, p_, out + p_.tiling.frequencies() * out_frequency_, zeros);
        for (size_t group = 0; group < s_.groups; ++group) {
            for (size_t n = images.begin; n < images.end; ++n) {
                source.set_image(x + s_.input_pixel(n, 0, 0));
                transform_input(source, group, n - images.begin, in);
            }
            multiply(images.size(), in, spectra + group * size.group, size, out);
            const float* group_bias = bias ? bias + group * s_.group_out() : nullptr;
            for (size_t n = images.begin; n < images.end; ++n) {
                transform_output(n - images.begin, out, group_bias, relu,
                                 y + s_.output_pixel(n, 0, 0) + group * s_.group_out());
            }
        }
    }

  private:
    void transform_input(const Source& source, size_t group, size_t n, float* in) const {
        const float* pixels[kPlaces];
        float* places[kPlaces];
        for (size_t p = 0; p < p_.tiling.vertical.tiles; ++p) {
            for (size_t q = 0; q < p_.tiling.horizontal.tiles; ++q) {
                source.places(p, q, group, pixels);
                spectrum_places(p_.tiling, n, p, q, in, in_row_, in_frequency_, places);
                const Transform transform = input_transform(k_, p_.tiling, p, q);
                for (size_t c = 0; c < p_.group_in; c += k_.lanes) {
                    const size_t lanes = std::min(k_.lanes, p_.group_in - c);
                    transform(pixels, c, lanes, places, c, lanes);
                }
            }
        }
    }

    void multiply(size_t images, const float* in, const float* weights, const WeightSpectra& size,
                  float* out) const {
        const DepthBlocks depth({{0, p_.group_in}});
        for (size_t f = 0; f < p_.tiling.frequencies(); ++f) {
            const Product product{images * p_.tiling.rows(f),
                                  in + f * in_frequency_,
                                  in_row_,
                                  1,
                                  out + f * out_frequency_,
                                  out_row_};
            for (size_t first = 0; first < s_.group_out(); first += k_.gemm_nr) {
                const float* panel = weights + f * size.frequency + first * p_.group_in;
                const size_t columns = std::min(k_.gemm_nr, s_.group_out() - first);
                for (const DepthBlocks::Block& block : depth.blocks()) {
                    multiply_panel(k_, product, block, panel, first, columns,
                                   {block.begin > 0, nullptr, false, false});
                }
            }
        }
    }

    void transform_output(size_t n, float* out, const float* bias, bool relu, float* y) const {
        const Axis &vertical = p_.tiling.vertical, &horizontal = p_.tiling.horizontal;
        float* places[kPlaces];
        float* pixels[kPlaces];
        for (size_t p = 0; p < vertical.tiles; ++p) {
            for (size_t q = 0; q < horizontal.tiles; ++q) {
                spectrum_places(p_.tiling, n, p, q, out, out_row_, out_frequency_, places);
                for (size_t i = 0; i < vertical.size(p); ++i) {
                    for (size_t j = 0; j < horizontal.size(q); ++j) {
                        pixels[i * horizontal.size(q) + j] =
                            y + s_.output_pixel(0, vertical.start(p) + i, horizontal.start(q) + j);
                    }
                }
                const Transform transform = output_transform(k_, p_.tiling, p, q);
                for (size_t o = 0; o < s_.group_out(); o += k_.lanes) {
                    const size_t lanes = std::min(k_.lanes, s_.group_out() - o);
                    transform(places, o, lanes, pixels, o, lanes, bias, relu);
                }
            }
        }
    }

    const KernelTable& k_;
    const Conv2dShape& s_;
    const Problem& p_;
    size_t in_row_, out_row_, in_frequency_, out_frequency_;
};

// Images a task: enough rows of the products for one pass over the weights, and tasks for all.
size_t images_a_task(const Conv2dShape& s, const Problem& p, size_t threads) {
    const size_t floats = p.tiling.products() * (p.group_in + s.group_out());
    const size_t wanted = ceil_div(kRowsATask, p.tiling.tiles());
    const size_t fitting = std::max<size_t>(1, kTaskFloats / floats);
    return std::max<size_t>(1, std::min({wanted, fitting, ceil_div(s.batch, threads)}));
}

}  // namespace

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const Problem p(s);
    const WeightSpectra size(k, s, p);
    float* spectra = scratch(Slot::kSpectra, s.groups * size.group);
    const size_t zeros_size = std::max(p.group_in, s.out_channels);
    float* zeros = scratch(Slot::kPartialSums, zeros_size);
    std::fill_n(zeros, zeros_size, 0.0f);
    transform_weights(k, s, p, weight, zeros, size, spectra, threads);

    const size_t images = images_a_task(s, p, static_cast<size_t>(threads));
    const Worker worker(k, s, p, images);
    const size_t memory_size = padded(worker.memory());
    float* memory = scratch(Slot::kFrames, static_cast<size_t>(threads) * memory_size);
    parallel_tasks(threads, ceil_div(s.batch, images), [&](size_t task, size_t thread) {
        const size_t first = task * images;
        worker.run({first, std::min(first + images, s.batch)}, x, spectra, size, bias, relu, zeros,
                   memory + thread * memory_size, y);
    });
}

namespace {

// turned[kh][kw][o][c] = weight[kernel_height-1-kh][kernel_width-1-kw][c][o], group by group.
void turn_weights(const Conv2dShape& s, const float* weight, float* turned, int threads) {
    constexpr size_t kBlock = 16;  // rows and columns transposed at once: both stay in L1
    const size_t taps = s.kernel_height * s.kernel_width;
    const size_t in = s.group_in(), out = s.group_out();
    const size_t blocks = ceil_div(out, kBlock);
    parallel_tasks(threads, taps * s.groups * blocks, [&](size_t task, size_t) {
        const size_t tap = task / (s.groups * blocks), group = task / blocks % s.groups;
        const size_t first = task % blocks * kBlock, last = std::min(first + kBlock, out);
        const float* source = weight + (taps - 1 - tap) * in * s.out_channels + group * out;
        float* target = turned + tap * out * s.in_channels + group * in;
        for (size_t c0 = 0; c0 < in; c0 += kBlock) {
            for (size_t o = first; o < last; ++o) {
                for (size_t c = c0; c < std::min(c0 + kBlock, in); ++c) {
                    target[o * s.in_channels + c] = source[c * s.out_channels + o];
                }
            }
        }
    });
}

}  // namespace

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    float* turned = scratch(Slot::kColumns, s.weight_size());
    turn_weights(s, weight, turned, num_threads());
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
    forward(turned_shape, dy, turned, nullptr, false, dx);
}

}  // namespace alexnet::cpu::winograd
