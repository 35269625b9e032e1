// Convolution on bfloat16 operands that are read in place: the images are rounded into frames with
// their border of zeros, and a tile of A is 16 neighbouring outputs by 32 elements of their windows,
// rows that are a stride apart.
//
//   run     outputs that are evenly apart in a frame, cut into tiles. A row of outputs; or, with
//           enough images, a whole image, if that takes fewer tiles: its rows follow each other in
//           the frame, and the sums between their ends, which are nobody's, are dropped:
//
//             outputs of a row    o o o o o . . o o o o o . . o o o      `.`: dropped. Rows of the
//             tiles               |-- tile --|-- tile --|-- tile --      frame share their border
//
//           not where windows lie in the border on both sides, so that rows would overlap
//
//   rest    what is left of a row of a window beside whole steps, as the last of conv1's 33
//           elements: copied for each output, all rows of its window together
//
// Threads: a task is some images, for all panels, and has a frame of its own in L2. Where there are
// fewer images than tasks, all share frames, and a task is some runs with a range of panels.

#include "conv2d_bf16.h"
#include "parallel.h"
#include "pool_rows.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kTasksAThread = 4;       // wanted, where there are as many
constexpr size_t kL2Share = 4;            // of L2 for the frames that share a panel
constexpr size_t kL2ShareWithResult = 2;  // and for what is pooled, too
constexpr size_t kFrameTiles = 128;       // that share a panel before the next is read
constexpr size_t kImagesByPanels = 16;    // from which on a run may be a whole image
constexpr double kMostBorder = 4;         // times an image, its output and the weights
constexpr double kSmallFrame = 1 << 18;   // elements that are always spared

// The images with their border, as far as windows reach. Shared borders: what is right of a row is
// what is left of the next.
struct Frame {
    Frame(const Conv2dShape& s, bool shares_borders)
        : height((s.out_height - 1) * s.stride_height + s.kernel_height),
          width((s.out_width - 1) * s.stride_width + s.kernel_width),
          left(std::min(s.pad_left, width)),
          pixels(std::min(s.in_width, width - left)),
          pitch(shares_borders ? pixels + std::max(left, width - left - pixels) : width) {}

    // In double: it may be beyond 64 bits.
    bool is_mostly_border(const Conv2dShape& s) const {
        const Size elements = Size{s.in_height} * s.in_width * s.in_channels +
                              Size{s.out_height} * s.out_width * s.out_channels + s.weight_size();
        const double size = static_cast<double>(height) * static_cast<double>(width) *
                            static_cast<double>(s.in_channels);
        return size > kMostBorder * static_cast<double>(elements) + kSmallFrame;
    }
    size_t image_pixels() const { return height * pitch + width - pitch; }

    size_t height, width;  // pixels
    size_t left, pixels;   // of a row: zeros, and what is of the image
    size_t pitch;          // from row to row
};

// The outputs of a batch as runs: row i of a run is at a_row * i in the frame.
class Runs {
  public:
    Runs(const Conv2dShape& shape, size_t panels)
        : s(shape), single_(s.out_height == 1 && s.out_width == 1), frame(shape, false) {
        const Frame shared(s, true);
        const size_t step = s.stride_height * shared.pitch;
        const size_t by_rows = s.out_height * ceil_div(s.out_width, kBf16Rows);
        const size_t between = step / s.stride_width;  // from one row of outputs to the next
        const size_t all = (s.out_height - 1) * between + s.out_width;
        const bool is_whole_image = !single_ && s.batch * panels >= kImagesByPanels &&
                                    step % s.stride_width == 0 && between >= s.out_width &&
                                    ceil_div(all, kBf16Rows) < by_rows;
        if (single_) {
            length = s.batch;
        } else if (is_whole_image) {
            frame = shared;
            length = all;
            of_image = 1;
        } else {
            length = s.out_width;
            of_image = s.out_height;
        }
        row = frame.pitch * s.in_channels;
        image = Size{frame.image_pixels()} * s.in_channels;
        a_row = single_ ? image : s.stride_width * s.in_channels;
        for (size_t i = 0; i < length; ++i) {
            const size_t oh = is_whole_image ? i / between : 0, ow = i - oh * between;
            const bool is_none = is_whole_image && ow >= s.out_width;
            c_rows.push_back(is_none ? kBf16NoRow : (oh * s.out_width + ow) * s.out_channels);
        }
    }
    size_t count(size_t images) const { return single_ ? 1 : images * of_image; }
    // Where run `r` of those images begins, whose first is at 0 in the frames and the result.
    size_t a(size_t r) const { return r / of_image * image + r % of_image * s.stride_height * row; }
    size_t c(size_t r) const {
        const size_t rows = of_image > 1 ? r : r * s.out_height;
        return rows * s.out_width * s.out_channels;
    }
    size_t bytes() const {  // of the frame, for one run more
        return (of_image > 1 ? row * s.stride_height : size_t{image}) * sizeof(uint16_t);
    }

    const Conv2dShape& s;

  private:
    bool single_;  // outputs an image: one run has those of all images

  public:
    Frame frame;
    size_t length = 0, of_image = 1;
    size_t row = 0;  // elements
    Size image{0};
    size_t a_row = 0;
    std::vector<size_t> c_rows;
};

// Rows [begin, end) of the frames of images, of which the first is image `first` of the batch.
void round_rows(const Bf16Conv2d& call, const Runs& runs, size_t first, Range rows,
                uint16_t* images) {
    const Conv2dShape& s = call.s;
    const Frame& frame = runs.frame;
    const size_t channels = s.in_channels;
    for (size_t r = rows.begin; r < rows.end; ++r) {
        const size_t n = r / frame.height, fh = r % frame.height;
        const size_t h = fh - s.pad_top;  // may wrap around
        uint16_t* const to = images + n * runs.image + fh * runs.row;
        const bool is_last = fh + 1 == frame.height;
        uint16_t* const end = to + (is_last ? frame.width : frame.pitch) * channels;
        if (h >= s.in_height) {
            std::fill(to, end, uint16_t{0});
            continue;
        }
        uint16_t* const image = to + frame.left * channels;
        std::fill(to, image, uint16_t{0});
        copy_as_bf16(call.k, call.x, s.input_pixel(first + n, h, 0), frame.pixels * channels,
                     image);
        std::fill(image + frame.pixels * channels, end, uint16_t{0});
    }
}

// The rest of the windows of a run that begins at `a`, a row of rest_row elements for each output;
// zeros behind the rest are there already.
void copy_rest(const Bf16Depth& depth, const Runs& runs, const uint16_t* a, size_t rest_row,
               uint16_t* rest) {
    for (size_t kh = 0; kh < depth.s.kernel_height; ++kh) {
        for (size_t i = 0; i < depth.row_rest; ++i) {
            const uint16_t* from = a + kh * runs.row + depth.row_in_place + i;
            uint16_t* to = rest + kh * depth.row_rest + i;
            for (size_t o = 0; o < runs.length; ++o) to[o * rest_row] = from[o * runs.a_row];
        }
    }
}

std::vector<size_t> step_offsets(const Bf16Conv2d& call, const Runs& runs) {
    const Conv2dShape& s = call.s;
    const Bf16Depth& depth = call.depth;
    std::vector<size_t> offsets(call.panels.steps);
    for (size_t kh = 0; kh < s.kernel_height; ++kh) {
        for (size_t i = 0; i < depth.row_in_place; i += kBf16Depth) {
            const size_t kw = i / s.group_in(), c = i % s.group_in();
            offsets[depth.of(kh, i) / kBf16Depth] = kh * runs.row + kw * s.in_channels + c;
        }
    }
    for (size_t step = depth.in_place; step < offsets.size(); ++step) {
        offsets[step] = (step - depth.in_place) * kBf16Depth;
    }
    return offsets;
}

// The parts of `total` of at most `most`, as even as they can be.
size_t parts_of(size_t total, size_t most) { return ceil_div(total, std::max<size_t>(most, 1)); }

// A thread's tiles and, behind them, its rest.
class FrameTask {
  public:
    FrameTask(const Bf16Conv2d& call, const Runs& runs)
        : call_(call),
          runs_(runs),
          tiling_(runs.length),
          offsets_(step_offsets(call, runs)),
          rest_steps_(call.panels.steps - call.depth.in_place),
          runs_at_once_(std::max<size_t>(
              std::min(kFrameTiles / tiling_.count, l2_cache_bytes() / kL2Share / runs.bytes()),
              1)) {}

    Size memory() const { return tiles_size() + bf16_floats(Size{runs_at_once_} * rest_size()); }

    // The runs `own`, counted from an image that is at `images` and, in `result`, at c, by the
    // panels `own_panels` of all groups.
    void multiply(Range own, Range own_panels, const uint16_t* images, const Bf16Output& result,
                  size_t c, float* memory) const {
        const Conv2dShape& s = call_.s;
        auto* const tiles = reinterpret_cast<Bf16Tile*>(memory);
        uint16_t* const rest = as_bf16(memory + tiles_size());
        std::fill_n(rest, runs_at_once_ * rest_size(), uint16_t{0});
        const size_t blocks = parts_of(own.size(), runs_at_once_);
        for (size_t block = 0; block < blocks; ++block) {
            const Range part_of_own = part(own.size(), blocks, block);
            const Range block_runs{own.begin + part_of_own.begin, own.begin + part_of_own.end};
            for (size_t run = block_runs.begin; rest_steps_ > 0 && run < block_runs.end; ++run) {
                copy_rest(call_.depth, runs_, images + runs_.a(run), rest_row(),
                          rest + (run - block_runs.begin) * rest_size());
            }
            for (size_t p = own_panels.begin; p < own_panels.end;) {
                const size_t group = p / call_.panels.count, first = group * call_.panels.count;
                const size_t last = std::min(first + call_.panels.count, own_panels.end);
                size_t count = 0;
                for (size_t run = block_runs.begin; run < block_runs.end; ++run) {
                    const uint16_t* const own_rest = rest + (run - block_runs.begin) * rest_size();
                    for (size_t t = 0; t < tiling_.count; ++t) {
                        tiles[count++] = {.a = images + runs_.a(run) + tiling_[t] * runs_.a_row +
                                               group * s.group_in(),
                                          .rest = own_rest + tiling_[t] * rest_row(),
                                          .c = c + runs_.c(run),
                                          .c_rows = runs_.c_rows.data() + tiling_[t]};
                    }
                }
                call_.multiply_panels(group, {p - first, last - first},
                                      {.rows = tiling_.rows,
                                       .a_row = runs_.a_row,
                                       .rest_row = rest_row(),
                                       .offsets = offsets_.data(),
                                       .in_place = call_.depth.in_place,
                                       .tiles = tiles,
                                       .tile_count = count},
                                      result);
                p = last;
            }
        }
    }

  private:
    Size tiles_size() const {
        return padded(Size{runs_at_once_} * tiling_.count * (sizeof(Bf16Tile) / sizeof(float)));
    }
    size_t rest_row() const { return rest_steps_ * kBf16Depth; }
    size_t rest_size() const { return runs_.length * rest_row(); }

    const Bf16Conv2d& call_;
    const Runs& runs_;
    Bf16Tiling tiling_;
    std::vector<size_t> offsets_;
    size_t rest_steps_, runs_at_once_;
};

// Max-pooling of the result, whose images are in L2 then and never go through memory.
struct Pooling {
    const Pool2dShape& shape;  // of the whole batch
    uint16_t* y;

    void pool(const Bf16Kernels& k, const uint16_t* images, Range of_batch) const {
        const size_t image = shape.out_height * shape.out_width * shape.channels;
        for_each_pooled_row(shape, {0, of_batch.size() * shape.out_height}, images,
                            y + of_batch.begin * image,
                            [&](const PoolRow& windows, const uint16_t* from, uint16_t* to) {
                                k.max_pool2d_row(windows, from, to);
                            });
    }
};

// Tasks of some images each, with frames of their own, and with results of their own that are
// pooled, unless `pooling` is null.
void convolve_images(const Bf16Conv2d& call, const Runs& runs, const FrameTask& task, size_t tasks,
                     const Pooling* pooling) {
    const Conv2dShape& s = call.s;
    const auto threads = static_cast<size_t>(num_threads());
    const size_t most = ceil_div(s.batch, tasks);
    const Size result{pooling ? s.output_pixel(1, 0, 0) : 0};  // elements of an image
    const size_t bytes = (runs.image + result) * sizeof(uint16_t);
    const size_t at_once = std::clamp<size_t>(
        l2_cache_bytes() / (pooling ? kL2ShareWithResult : kL2Share) / bytes, 1, most);
    const Size frames_size = bf16_floats(Size{at_once} * runs.image);
    const Slices frames(Slot::kThreadMemory, threads,
                        frames_size + bf16_floats(Size{at_once} * result));
    const Slices memory(Slot::kThreadOperand, threads, task.memory());
    parallel_tasks(num_threads(), tasks, [&](size_t number, size_t thread) {
        const Range own = part(s.batch, tasks, number);
        const size_t blocks = parts_of(own.size(), at_once);
        uint16_t* const images = as_bf16(frames[thread]);
        uint16_t* const results = as_bf16(frames[thread] + frames_size);
        for (size_t block = 0; block < blocks; ++block) {
            const Range of_own = part(own.size(), blocks, block);
            const size_t first = own.begin + of_own.begin;
            round_rows(call, runs, first, {0, of_own.size() * runs.frame.height}, images);
            task.multiply({0, runs.count(of_own.size())}, {0, s.groups * call.panels.count}, images,
                          pooling ? Bf16Output{.bits = results} : call.y,
                          pooling ? 0 : s.output_pixel(first, 0, 0), memory[thread]);
            if (pooling) pooling->pool(*call.k.bf16, results, {first, own.begin + of_own.end});
        }
    });
}

// Tasks of some runs and panels each, with the frames of all images.
void convolve_parts(const Bf16Conv2d& call, const Runs& runs, const FrameTask& task, size_t wanted,
                    size_t image_parts) {
    const Conv2dShape& s = call.s;
    uint16_t* images = as_bf16(scratch(Slot::kPaddedImages, bf16_floats(s.batch * runs.image)));
    parallel_for(
        s.batch * runs.frame.height, ceil_div(kBf16WorthATask, runs.row),
        [&](size_t begin, size_t end) { round_rows(call, runs, 0, {begin, end}, images); });
    // Whole images before panels, of which each is read again for every task that has it.
    const size_t all_runs = runs.count(s.batch), all_panels = s.groups * call.panels.count;
    const size_t panel_parts = std::min(all_panels, ceil_div(wanted, image_parts));
    const size_t run_parts =
        std::min(all_runs, std::max(image_parts, ceil_div(wanted, panel_parts)));
    const Slices memory(Slot::kThreadOperand, static_cast<size_t>(num_threads()), task.memory());
    parallel_tasks(num_threads(), run_parts * panel_parts, [&](size_t number, size_t thread) {
        task.multiply(part(all_runs, run_parts, number / panel_parts),
                      part(all_panels, panel_parts, number % panel_parts), images, call.y, 0,
                      memory[thread]);
    });
}

bool convolve(const Bf16Conv2d& call, const Pooling* pooling) {
    const Conv2dShape& s = call.s;
    if (call.depth.in_place == 0 || Frame(s, false).is_mostly_border(s)) return false;
    const Runs runs(s, s.groups * call.panels.count);
    const FrameTask task(call, runs);
    const size_t work = runs.count(s.batch) * runs.length * s.window() * s.out_channels;
    const size_t wanted = std::min(static_cast<size_t>(num_threads()) * kTasksAThread,
                                   ceil_div(work, kBf16WorthATask));
    const size_t image_parts = std::min(wanted, ceil_div(runs.count(s.batch), runs.of_image));
    if (image_parts == wanted && runs.count(s.batch) == s.batch * runs.of_image) {
        convolve_images(call, runs, task, wanted, pooling);
        return true;
    }
    if (pooling) return false;
    convolve_parts(call, runs, task, wanted, image_parts);
    return true;
}

}  // namespace

bool convolve_bf16_frame(const Bf16Conv2d& call) { return convolve(call, nullptr); }

bool convolve_and_pool_bf16_frame(const Bf16Conv2d& call, const Pool2dShape& pool,
                                  uint16_t* pooled) {
    const Pooling pooling{pool, pooled};
    return convolve(call, &pooling);
}

}  // namespace alexnet::cpu
