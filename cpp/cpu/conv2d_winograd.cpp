// Convolution by Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308): fewer
// multiplications for more additions. docs/kernels/winograd.md has the idea and the list of files.
// This one has the schedules, in which order the three steps of winograd_convolution.h run.
//
//     what lies where   U: weights            V: input                    M: products
//
//     by_rows           shared, all of them   a thread's own, of the rows of tiles of a task
//     by_elements       shared, all of them   shared, of a block of rows of tiles
//     by_panels         a thread's own, of    a thread's own, of all      a thread's own,
//                       one panel and chunk   images                      of one panel
//
// Schedules (winograd_choice.h). by_rows (many images): transform all weights, then each task runs
// input transform, matrix products and output transform on a block of rows of tiles. by_elements
// (fewer images, or many threads): three parallel phases, one product a tile element and panel.
// by_panels (few): every thread transforms the whole input; a task owns panels of output channels
// and transforms their weights on the fly.
//
// backward_input is the forward convolution of dy with flipped weights.
//
// Cost: 2 · in · out · Tiling::products() FLOP an image: for 13 × 13 outputs of a 3 × 3 window 361
// products a pair of channels instead of 1521, for 27 × 27 of a 5 × 5 window 3025 instead of 18225.
// U is (points / window)² times the weights, so few tiles do not pay.
// Loops (docs/kernels/gemm.md), outermost first; e runs over tile elements, each of which is a
// product of its own, and loops in parentheses are shared by the threads:
//   by_rows      (ic: rows of tiles)  e  jr  pc: pieces of a panel that stay in L1  ir
//   by_elements  ic: blocks of rows of tiles  (e  jr  ic: cuts of a block)  pc: pieces  ir
//   by_panels    (jc: ranges of panels)  jr  pc: chunks whose U stays in L2  e  pc: pieces  ir
// Numerics: error of the transforms about 2e-6 to 5e-6 of the largest values that a tile sees;
// winograd_guard.h says which images are left to direct for that. Each sum over the channels is one
// chain of FMAs (microkernels/gemm.cpp). The same bits for every number of threads.

#include <utility>
#include <vector>

#include "conv2d.h"
#include "dispatch.h"
#include "parallel.h"
#include "winograd_convolution.h"

namespace alexnet::cpu::winograd {
namespace {

// --- by rows: U first, then tasks own rows of tiles --------------------------------------------

// How many tasks: a multiple of the threads, with as many tiles each as balance two costs. Every
// task reads U from L3; its V and M are written and read again, so with half the size of U they
// take as long. Much more than L2 holds does not stay near the core, however.
size_t tasks_by_rows(const Convolution& c) {
    constexpr size_t kLeastTiles = 18;  // enough for one pass over U
    const size_t channels = c.problem.group_in + c.shape.group_out();
    const size_t u = c.elements * c.problem.group_in * c.shape.group_out();
    const size_t tile = c.problem.tiling.products() * channels / c.problem.tiling.tiles();
    const size_t v_and_m = std::min(u / 2, 3 * l2_cache_bytes() / sizeof(float));
    const size_t task_rows = ceil_div(std::max(kLeastTiles, v_and_m / tile), c.row_tiles);
    return std::min(c.rows, c.team * ceil_div(ceil_div(c.rows, c.team), task_rows));
}

void by_rows(Convolution& c) {
    const TransformedWeights u(c.k, c.shape, c.problem, c.panels, c.weights, c.operands.prepared);
    const Slices weight_memory(Slot::kThreadOperand, c.team, u.task_memory());
    parallel_tasks(c.threads, u.tasks(),
                   [&](size_t task, size_t thread) { u.transform(task, weight_memory[thread]); });

    const size_t group_out = c.shape.group_out();
    const size_t tasks = tasks_by_rows(c);
    const size_t most_tiles = ceil_div(c.rows, tasks) * c.row_tiles;
    const ElementStrides v_strides = element_strides(most_tiles, c.problem.group_in);
    const ElementStrides m_strides = element_strides(most_tiles, group_out);
    const Size v_floats = Size{c.elements} * v_strides.element;
    const Size m_floats = Size{c.elements} * m_strides.element;
    const Slices memory(Slot::kThreadMemory, c.team,
                        v_floats + m_floats + TileInput::memory_size(c.shape, c.problem));
    parallel_tasks(c.threads, tasks, [&](size_t task, size_t thread) {
        const Range rows = part(c.rows, tasks, task);
        const ElementMatrices v{memory[thread], v_strides};
        const ElementMatrices m{v.begin + v_floats, m_strides};
        TileInput input = c.input_in(m.begin + m_floats);
        // The input of the next task, which this thread most likely takes.
        Prefetcher prefetcher(
            input.floats(task + 1 < tasks ? part(c.rows, tasks, task + 1) : Range{}),
            c.shape.groups * c.elements);
        for (size_t group = 0; group < c.shape.groups; ++group) {
            for (size_t row = rows.begin; row < rows.end; ++row) {
                c.transform_input(input, group, rows, row, v);
            }
            for (size_t e = 0; e < c.elements; ++e) {
                prefetcher.next_share();
                for (size_t i = 0; i < c.panels.count; ++i) {
                    c.multiply({.element = e,
                                .rows = rows,
                                .depth = c.problem.group_in,
                                .columns = c.panels[i],
                                .u = u.panel(group, e, i),
                                .prefetch_distance = u.panel_floats()},
                               v, m);
                }
            }
            for (size_t row = rows.begin; row < rows.end; ++row) {
                c.transform_output(rows.begin, row, group, {0, group_out}, m);
            }
        }
        c.k.stream_fence();
    });
}

// --- by elements: U and V of a block of rows first, then tasks own panels of tile elements ------

void by_elements(Convolution& c) {
    // V and M of a block, all in all and for each of many threads, in whose caches they lie.
    constexpr size_t kBlockFloats = 4096 << 10, kThreadFloats = 256 << 10;
    constexpr size_t kTasksAThread = 8;  // of products, at least
    const size_t groups = c.shape.groups, group_out = c.shape.group_out();
    const size_t panels = c.panels.count;
    const size_t block_rows =
        rows_per_block(c.shape, c.problem, std::max(kBlockFloats, c.team * kThreadFloats));
    const size_t tiles = block_rows * c.row_tiles;
    const ElementStrides v_strides = element_strides(tiles, c.problem.group_in);
    const ElementStrides m_strides = element_strides(tiles, group_out);
    const size_t v_floats = padded(Size{c.elements} * v_strides.element);
    const size_t m_floats = padded(Size{c.elements} * m_strides.element);
    const TransformedWeights u(c.k, c.shape, c.problem, c.panels, c.weights, c.operands.prepared);
    const Size weight_floats = u.task_memory();
    const Slices own_memory(Slot::kThreadOperand, c.team,
                            weight_floats + TileInput::memory_size(c.shape, c.problem));
    const Slices memory(Slot::kThreadMemory, 1, groups * (Size{v_floats} + m_floats));
    const auto v = [&](size_t group) {
        return ElementMatrices{memory[0] + group * v_floats, v_strides};
    };
    const auto m = [&](size_t group) {
        return ElementMatrices{memory[0] + groups * v_floats + group * m_floats, m_strides};
    };

    for (size_t first = 0; first < c.rows; first += block_rows) {
        const Range block{first, std::min(first + block_rows, c.rows)};
        const size_t weight_tasks = first == 0 ? u.tasks() : 0;
        const size_t row_tasks = groups * block.size();
        parallel_tasks(c.threads, weight_tasks + row_tasks, [&](size_t task, size_t thread) {
            float* own = own_memory[thread];
            if (task < weight_tasks) {
                u.transform(task, own);
                return;
            }
            task -= weight_tasks;
            const size_t group = task / block.size(), row = first + task % block.size();
            TileInput input = c.input_in(own + weight_floats);
            c.transform_input(input, group, block, row, v(group));
        });
        // Each panel of an element is one product, or several of some rows for many threads.
        const size_t products = groups * c.elements * panels;
        const size_t cuts = std::min(ceil_div(kTasksAThread * c.team, products), block.size());
        parallel_tasks(c.threads, products * cuts, [&](size_t task, size_t) {
            const size_t i = task / cuts % panels, e = task / (cuts * panels) % c.elements;
            const size_t group = task / (cuts * panels * c.elements);
            const Range own = part(block.size(), cuts, task % cuts);
            const Range rows{first + own.begin, first + own.end};
            const size_t tiles_before = c.problem.tiling.tiles_with(e, {first, rows.begin});
            c.multiply({.element = e,
                        .rows = rows,
                        .depth = c.problem.group_in,
                        .columns = c.panels[i],
                        .u = u.panel(group, e, i),
                        .prefetch_distance = u.panel_floats()},
                       v(group).from_row(tiles_before), m(group).from_row(tiles_before));
        });
        parallel_tasks(c.threads, row_tasks, [&](size_t task, size_t) {
            const size_t group = task / block.size(), row = first + task % block.size();
            c.transform_output(first, row, group, {0, group_out}, m(group));
            c.k.stream_fence();
        });
    }
}

// --- by panels: each thread has V of all images, tasks own panels of output channels ------------

void by_panels(Convolution& c) {
    constexpr size_t kChunkFloats = 96 << 10;  // of U: it stays in L2 until it is used
    const size_t width = c.panels.width, group_in = c.problem.group_in;
    const Range all_rows{0, c.rows};
    const ElementStrides v_strides = element_strides(c.rows * c.row_tiles, group_in);
    const ElementStrides m_strides{
        .row = width, .element = Size{c.rows} * c.row_tiles * width + kConflictPadding};
    const size_t chunks = ceil_div(c.elements * group_in * width, kChunkFloats);
    const size_t u_stride = ceil_div(group_in, chunks) * width + kConflictPadding;
    const Size v_floats = padded(Size{c.elements} * v_strides.element);
    const Size u_floats = padded(Size{c.elements} * u_stride);
    const Size m_floats = padded(Size{c.elements} * m_strides.element);
    // The input's memory is that of U and M, which come after it.
    const Size other_floats =
        std::max(u_floats + m_floats, TileInput::memory_size(c.shape, c.problem));
    const Slices memory(Slot::kThreadMemory, c.team, v_floats + other_floats);
    const Slices weight_memory(Slot::kThreadOperand, c.team, c.weights.memory_size(width));
    std::vector<size_t> group_of_v(c.team, c.shape.groups);  // by thread; none at first

    // A task owns neighbouring panels, so that it reads ranges of some cache lines of the weights.
    const size_t splits = std::min(c.panels.count, c.team);
    parallel_tasks(c.threads, c.shape.groups * splits, [&](size_t task, size_t thread) {
        const size_t group = task / splits;
        const Range panels = part(c.panels.count, splits, task % splits);
        const ElementMatrices v{memory[thread], v_strides};
        float* u = v.begin + v_floats;
        const ElementMatrices m{u + u_floats, m_strides};
        if (group_of_v[thread] != group) {
            TileInput input = c.input_in(u);
            for (size_t row = 0; row < c.rows; ++row) {
                c.transform_input(input, group, all_rows, row, v);
            }
            group_of_v[thread] = group;
        }
        for (size_t panel = panels.begin; panel < panels.end; ++panel) {
            const Range columns = c.panels[panel];
            for (size_t chunk = 0; chunk < chunks; ++chunk) {
                const Range channels = part(group_in, chunks, chunk);
                c.weights.transform(group, channels, {panel, panel + 1}, weight_memory[thread],
                                    false, {.begin = u, .panel = 0, .element = u_stride});
                const bool is_last = chunk + 1 == chunks;
                const Range next_channels = part(group_in, chunks, is_last ? 0 : chunk + 1);
                const size_t next_panel = std::min(panel + is_last, panels.end - 1);
                for (size_t e = 0; e < c.elements; ++e) {
                    // The products wait for no memory, so there is time to prefetch the weights of
                    // the next chunk.
                    c.weights.prefetch(group, next_channels, c.panels[next_panel], c.elements, e);
                    c.multiply({.element = e,
                                .rows = all_rows,
                                .depth = channels.size(),
                                .resume = chunk > 0,
                                .columns = {0, columns.size()},
                                .u = u + e * u_stride},
                               {v.begin + channels.begin, v_strides}, m);
                }
            }
            for (size_t row = 0; row < c.rows; ++row) {
                c.transform_output(0, row, group, columns, m);
            }
        }
        c.k.stream_fence();
    });
}

// Computes y but for some images, which are returned: they are left to the direct algorithm.
RejectedImages compute(const Conv2dShape& shape, const Operands& operands) {
    Convolution convolution(shape, operands);
    switch (convolution.schedule) {
        case Schedule::kByRows:
            by_rows(convolution);
            break;
        case Schedule::kByElements:
            by_elements(convolution);
            break;
        case Schedule::kByPanels:
            by_panels(convolution);
            break;
    }
    return std::move(convolution.rejected);
}

// The same convolution of some images of the batch.
Conv2dShape with_batch(Conv2dShape s, size_t images) {
    s.batch = images;
    return s;
}

// The convolution of dy with flipped weights that is the input gradient.
Conv2dShape flipped(const Conv2dShape& s) {
    return {.batch = s.batch,
            .in_height = s.out_height,
            .in_width = s.out_width,
            .in_channels = s.out_channels,
            .out_height = s.in_height,
            .out_width = s.in_width,
            .out_channels = s.in_channels,
            .kernel_height = s.kernel_height,
            .kernel_width = s.kernel_width,
            .stride_height = 1,
            .stride_width = 1,
            .pad_top = s.kernel_height - 1 - s.pad_top,
            .pad_left = s.kernel_width - 1 - s.pad_left,
            .groups = s.groups};
}

}  // namespace

// None by panels: there the weights are transformed from L2 while U, (points / window)² as large,
// would come from memory at every call, which takes longer.
Size prepared_weight_size(const Conv2dShape& s) {
    const Problem p(s);
    constexpr size_t kAny = 1;  // number of threads: it does not decide whether by panels
    if (choose(s.batch, p.tiling, p.group_in, s.group_out(), kAny) == Schedule::kByPanels) {
        return Size{0};
    }
    return TransformedWeights::size(s, p, Panels(kernels(), s.group_out()));
}

void prepare_weight(const Conv2dShape& s, const float* weight, float* prepared) {
    const Convolution c(s, {.x = nullptr, .weight = weight, .y = nullptr, .prepared = prepared});
    const TransformedWeights u(c.k, c.shape, c.problem, c.panels, c.weights, prepared);
    const Slices memory(Slot::kThreadOperand, c.team, u.task_memory());
    parallel_tasks(c.threads, u.tasks(),
                   [&](size_t task, size_t thread) { u.transform(task, memory[thread]); });
}

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y, const float* prepared) {
    const RejectedImages rejected = compute(
        s, {.x = x, .weight = weight, .bias = bias, .relu = relu, .y = y, .prepared = prepared});
    rejected.for_each_range([&](Range images) {
        direct::forward(with_batch(s, images.size()), x + s.input_pixel(images.begin, 0, 0), weight,
                        bias, relu, y + s.output_pixel(images.begin, 0, 0));
    });
}

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    const RejectedImages rejected =
        compute(flipped(s), {.x = dy, .weight = weight, .flipped = true, .y = dx});
    rejected.for_each_range([&](Range images) {
        direct::backward_input(with_batch(s, images.size()),
                               dy + s.output_pixel(images.begin, 0, 0), weight,
                               dx + s.input_pixel(images.begin, 0, 0));
    });
}

}  // namespace alexnet::cpu::winograd
