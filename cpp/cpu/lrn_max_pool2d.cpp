// LRN and max pooling of its output: a task normalises a band of rows of an image, which stays in
// L2, and pools it. Backward, it scatters the gradient of pooling over a band and takes that
// through LRN. The kernels are those of the two operators.
//
// Memory traffic: forward x is read and y and positions are written, 4 bytes an element of each;
// backward dy, positions and x are read and dx is written. The normalised array, as large as x, and
// its gradient are neither. Rows that windows of two bands share are normalised twice, and windows
// that reach into two bands are scattered twice.
// Numerics: pixels and windows are independent, and gradients are summed in the order of the
// windows, so neither bands nor threads show in the result.

#include "alexnet/lrn_max_pool2d.h"

#include <algorithm>

#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "pool_rows.h"
#include "scratch.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kBand = 1 << 17;  // floats of a band

// The work: bands of `rows` rows (of y forward, of dx backward) of each image, as even as they can
// be, and the memory of the threads for a band of x and for LRN.
struct Bands {
    Bands(const KernelTable& k, const Pool2dShape& shape, const LrnParameters& parameters,
          size_t all_rows)
        : rows(all_rows),
          in_row(shape.in_width * shape.channels),
          count(std::clamp<size_t>(ceil_div(shape.in_height * in_row, kBand), 1, rows)),
          tasks(shape.batch * count),
          threads(useful_threads(tasks, 1)),
          coefficients{.radius = std::min(parameters.depth_radius, shape.channels - 1),
                       .bias = parameters.bias,
                       .alpha = parameters.alpha,
                       .beta = parameters.beta,
                       .stream = false},
          workspace(Slot::kLrnRows, static_cast<size_t>(threads),
                    Size{k.lrn_workspace(shape.channels, coefficients.radius)}) {}

    size_t image(size_t task) const { return task / count; }
    Range operator[](size_t task) const { return part(rows, count, task % count); }
    size_t most_rows() const { return ceil_div(rows, count); }
    Slices memory(size_t in_rows) const {
        return {Slot::kThreadMemory, static_cast<size_t>(threads), Size{in_rows} * in_row};
    }

    size_t rows, in_row;  // floats of a row of x
    size_t count, tasks;
    int threads;
    LrnCoefficients coefficients;
    Slices workspace;
};

}  // namespace

void lrn_max_pool2d(const Pool2dShape& shape, const LrnParameters& parameters, const float* x,
                    float* y, float* positions) {
    const KernelTable& k = kernels();
    const Bands bands(k, shape, parameters, shape.out_height);
    const size_t out_row = shape.out_width * shape.channels;
    const size_t under_a_band = (bands.most_rows() - 1) * shape.stride_height + shape.window_height;
    const Slices memory = bands.memory(std::min(under_a_band, shape.in_height));
    parallel_tasks(bands.threads, bands.tasks, [&](size_t task, size_t thread) {
        const size_t image = bands.image(task);
        const Range band = bands[task];
        const size_t first = rows_of(shape, band.begin).first;
        const size_t end = rows_of(shape, band.end - 1).end;
        float* normalised = memory[thread];
        k.lrn((end - first) * shape.in_width, shape.channels, bands.coefficients,
              x + (image * shape.in_height + first) * bands.in_row, normalised,
              bands.workspace[thread]);
        for (size_t row = band.begin; row < band.end; ++row) {
            const PooledRows rows = rows_of(shape, row);
            const size_t at = (image * shape.out_height + row) * out_row;
            k.max_pool2d_row(pool_row(shape, rows),
                             normalised + (rows.first - first) * bands.in_row, y + at,
                             positions ? positions + at : nullptr);
        }
    });
}

void lrn_max_pool2d_backward(const Pool2dShape& shape, const LrnParameters& parameters,
                             const float* dy, const float* x, const float* positions,
                             bool through_relu, float* dx) {
    const KernelTable& k = kernels();
    const Bands bands(k, shape, parameters, shape.in_height);
    const size_t out_row = shape.out_width * shape.channels;
    const Slices memory = bands.memory(bands.most_rows());
    parallel_tasks(bands.threads, bands.tasks, [&](size_t task, size_t thread) {
        const size_t image = bands.image(task);
        const Range band = bands[task];
        float* sums = memory[thread];  // of the gradients of the normalised rows
        std::fill_n(sums, band.size() * bands.in_row, 0.0f);
        for (size_t row = first_reaching(shape, band.begin); row < shape.out_height; ++row) {
            const PooledRows rows = rows_of(shape, row);
            if (rows.first >= band.end) break;
            const size_t first = std::max(band.begin, rows.first);
            const size_t end = std::min(band.end, rows.end);
            if (first >= end) continue;  // between windows further apart than they are high
            const size_t at = (image * shape.out_height + row) * out_row;
            k.max_pool2d_scatter_row(pool_row(shape, rows), dy + at, positions + at,
                                     sums + (first - band.begin) * bands.in_row, first - rows.first,
                                     end - rows.first);
        }
        const size_t at = (image * shape.in_height + band.begin) * bands.in_row;
        k.lrn_backward(band.size() * shape.in_width, shape.channels, bands.coefficients, sums,
                       x + at, through_relu, dx + at, bands.workspace[thread]);
    });
}

}  // namespace alexnet::cpu
