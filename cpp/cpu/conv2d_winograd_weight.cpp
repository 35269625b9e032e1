// Gradient of a convolution with respect to its weights by Winograd's algorithm: the driver of the
// steps in winograd_weight_gradient.h.
//
//     for each block of rows of tiles, or several of them with many threads
//                   thread 0                     thread 1
//       phase 1     V or dM of row 0, 1, ...     V or dM of row 4, 5, ...      a task: one row of
//                   ------------------------------------------------------     tiles, of x or dy
//       phase 2     dU(0, 0) += Vᵀ · dM, ...     dU(3, 0) += Vᵀ · dM, ...      a task: one element
//                                                                              and panel of outputs
//     at the end    dg = Gᵀ · dU · G             dg = Gᵀ · dU · G              a task: one input
//                   of channels 0, 1, ...        of channels 48, 49, ...       channel
//
// Cost: 2 · in · out · Tiling::products() FLOP an image, as forward.
// Loops (docs/kernels/gemm.md), outermost first; e runs over tile elements, each of which is a
// product dU += Vᵀ · dM of its own with the tiles as depth, and loops in parentheses are shared by
// the threads, as V, dM and dU are:
//   pc: blocks at once  (e  jr)  pc: blocks of rows of tiles  ic: panels of input channels
//   pc: pieces in L1  ir
// Numerics: as forward; tiles are summed in order, in chains that depend on the shape alone: the
// same bits for every number of threads.

#include <atomic>

#include "column_sums.h"
#include "conv2d.h"
#include "dispatch.h"
#include "parallel.h"
#include "winograd_weight_gradient.h"

namespace alexnet::cpu::winograd {
namespace {

// Floats of V and dM of a block: much larger ones do not stay in the caches, but dU is read and
// written once for each block.
size_t block_floats(const Conv2dShape& s, const Problem& p) {
    constexpr size_t kLeast = 1536 << 10, kMost = 4096 << 10;
    const size_t du = p.tiling.elements() * p.group_in * s.out_channels;
    return std::clamp(du, kLeast, kMost);
}

// Blocks whose V and dM are transformed before they are multiplied: as many as the caches of many
// threads hold, so that there is enough to do for all of them.
size_t blocks_at_once(const Conv2dShape& s, size_t tile_floats, size_t threads) {
    constexpr size_t kThreadFloats = 256 << 10;
    return std::max<size_t>(threads * kThreadFloats / (s.groups * tile_floats), 1);
}

// Computes dweight and dbias; false where the values do not allow it (winograd_guard.h), and what
// has been written is of no use.
bool compute(const Conv2dShape& s, const float* dy, const float* x, float* dweight, float* dbias) {
    const KernelTable& k = kernels();
    const int threads = num_threads();
    const size_t team = static_cast<size_t>(threads);
    const Problem p(s);
    const size_t block_rows = rows_per_block(s, p, block_floats(s, p));
    const WeightGradient gradient(k, s, p, block_rows);
    if (!gradient.has_bias()) {
        column_sums(s.batch * s.out_height * s.out_width, s.out_channels, dy, dbias);
    }
    const size_t elements = p.tiling.elements(), panels = gradient.panels();
    const Size du_floats = gradient.du_floats(), tile_floats = gradient.tile_floats();
    const Slices du_memory(Slot::kGradientSums, 1, s.groups * du_floats);
    const size_t total = s.batch * p.tiling.vertical.tiles;
    const size_t blocks =
        std::min(blocks_at_once(s, tile_floats, team), ceil_div(total, block_rows));
    const Slices tile_memory(Slot::kThreadMemory, 1, Size{blocks} * s.groups * tile_floats);
    float* const all_du = du_memory[0];
    float* const all_tiles = tile_memory[0];
    const Slices input_memory(Slot::kThreadOperand, team, TileInput::memory_size(s, p));
    // Zeros to read outside the image, and a row for each thread that takes taps beyond the window.
    const size_t zeros_size = padded(p.group_in), sink_size = padded(s.group_out());
    float* zeros = scratch(Slot::kOutside, Size{team} * sink_size + zeros_size);
    std::fill_n(zeros, zeros_size, 0.0f);
    double* bias_sums = scratch_doubles(Slot::kDoubleSums, Size{s.out_channels});
    std::fill_n(bias_sums, s.out_channels, 0.0);

    std::atomic<bool> serves = true;
    const auto block_of = [&](size_t row) {
        const size_t begin = row / block_rows * block_rows;
        return Range{begin, std::min(begin + block_rows, total)};
    };
    const auto tiles_of = [&](Range block, size_t group) {
        const size_t place = block.begin / block_rows % blocks;
        return all_tiles + (place * s.groups + group) * tile_floats;
    };
    for (size_t first = 0; first < total; first += blocks * block_rows) {
        const size_t end = std::min(first + blocks * block_rows, total);
        parallel_tasks(threads, 2 * (end - first), [&](size_t task, size_t thread) {
            const size_t row = first + task / 2;
            const Range block = block_of(row);
            const bool of_input = task % 2 == 0;
            TileInput input(k, s, p, x, input_memory[thread], zeros);
            for (size_t group = 0; group < s.groups; ++group) {
                float* tiles = tiles_of(block, group);
                const bool alike = of_input
                                       ? gradient.transform_input(input, block, row, group, tiles)
                                       : gradient.transform_output_gradient(
                                             block, row, group, dy, input_memory[thread], tiles);
                if (!alike) serves = false;
            }
        });
        if (!serves) return false;
        parallel_tasks(threads, s.groups * elements * panels, [&](size_t task, size_t) {
            const size_t panel = task % panels, e = task / panels % elements;
            const size_t group = task / (panels * elements);
            for (size_t row = first; row < end; row += block_rows) {
                const Range block = block_of(row);
                const float* tiles = tiles_of(block, group);
                gradient.multiply(e, panel, block, tiles, all_du + group * du_floats);
                if (gradient.has_bias() && e == gradient.bias_element()) {
                    gradient.add_bias(panel, block, tiles, bias_sums + group * s.group_out());
                }
            }
        });
    }
    parallel_tasks(threads, s.groups * p.group_in, [&](size_t task, size_t thread) {
        const size_t group = task / p.group_in;
        float* sink = zeros + zeros_size + thread * sink_size;
        if (!gradient.transform_weight_gradient(all_du + group * du_floats, group,
                                                task % p.group_in, sink, dweight)) {
            serves = false;
        }
        k.stream_fence();
    });
    if (!serves) return false;
    for (size_t o = 0; gradient.has_bias() && o < s.out_channels; ++o) {
        dbias[o] = static_cast<float>(bias_sums[o]);
    }
    return true;
}

}  // namespace

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    if (!compute(s, dy, x, dweight, dbias)) direct::backward_weight(s, dy, x, dweight, dbias);
}

}  // namespace alexnet::cpu::winograd
