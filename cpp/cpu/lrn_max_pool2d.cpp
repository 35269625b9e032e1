// LRN and max pooling of its output: a task normalises a band of rows of an image, which stays in
// L2, and pools it. The kernels are those of the two operators.
//
// Memory traffic: x is read and y written, 4 bytes an element of each; the normalised array, as
// large as x, is neither. Rows that windows of two bands share are normalised twice.
// Numerics: pixels and windows are independent, so neither bands nor threads show in the result.

#include "alexnet/lrn_max_pool2d.h"

#include "dispatch.h"
#include "gemm.h"
#include "parallel.h"
#include "pool_rows.h"
#include "scratch.h"

namespace alexnet::cpu {

void lrn_max_pool2d(const Pool2dShape& shape, const LrnParameters& parameters, const float* x,
                    float* y) {
    constexpr size_t kBand = 1 << 17;  // floats of a band
    const KernelTable& k = kernels();
    const LrnCoefficients coefficients{std::min(parameters.depth_radius, shape.channels - 1),
                                       parameters.bias, parameters.alpha, parameters.beta, false};
    const size_t in_row = shape.in_width * shape.channels;
    const size_t out_row = shape.out_width * shape.channels;
    const size_t bands =
        std::clamp<size_t>(ceil_div(shape.in_height * in_row, kBand), 1, shape.out_height);
    const size_t most_rows = (ceil_div(shape.out_height, bands) - 1) * shape.stride_height +
                             shape.window_height;  // of the image, under a band's windows
    const size_t tasks = shape.batch * bands;
    const int threads = useful_threads(tasks, 1);
    const auto team = static_cast<size_t>(threads);
    const Slices memory(Slot::kFrames, team, std::min(most_rows, shape.in_height) * in_row);
    const Slices workspace(Slot::kChannelRows, team,
                           k.lrn_workspace(shape.channels, coefficients.radius));
    parallel_tasks(threads, tasks, [&](size_t task, size_t thread) {
        const size_t image = task / bands;
        const Range band = part(shape.out_height, bands, task % bands);
        const size_t first = rows_of(shape, band.begin).first;
        const size_t end = rows_of(shape, band.end - 1).end;
        float* normalised = memory[thread];
        k.lrn((end - first) * shape.in_width, shape.channels, coefficients,
              x + (image * shape.in_height + first) * in_row, normalised, workspace[thread]);
        for (size_t row = band.begin; row < band.end; ++row) {
            const PooledRows rows = rows_of(shape, row);
            k.max_pool2d_row(pool_row(shape, rows), normalised + (rows.first - first) * in_row,
                             y + (image * shape.out_height + row) * out_row);
        }
    });
}

}  // namespace alexnet::cpu
