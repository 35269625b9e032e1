// Softmax cross-entropy: rows dealt out among threads, their losses added in order.
//
// With m the largest logit of a row, e_j = exp(z_j - m), and `others` the sum of e_j over all
// classes but the label's:
//   loss           = log(others + e_label) + (m - z_label)
//                  = log1p(others + (e_label - 1)) + (m - z_label)
//   dlogits[j]     = e_j / (others + e_label) / batch          of every class but the label's
//   dlogits[label] = -others / (others + e_label) / batch
// Neither subtracts nearly equal numbers, so that a loss of 1e-12 is right to its last digits,
// where 1 - softmax would have lost them. Cost and numerics are in
// microkernels/softmax_cross_entropy.cpp.

#include "alexnet/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "dispatch.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kGrain = 1 << 13;  // exponentials a thread at least

size_t row_grain(size_t classes) { return std::max<size_t>(1, kGrain / classes); }

struct Row {
    double below;   // m - z_label
    double label;   // e_label
    double others;  // Σ e_j, j other than the label
};

// Also stores e_j, j other than the label, unless `exponentials` is null.
Row sum_row(const KernelTable& k, size_t classes, const float* z, size_t label,
            float* exponentials) {
    const double largest = k.largest(classes, z);
    const size_t after = label + 1;
    float* const rest = exponentials == nullptr ? nullptr : exponentials + after;
    Row row;
    row.below = largest - static_cast<double>(z[label]);
    row.label = std::exp(-row.below);
    row.others = k.sum_exp(label, largest, z, exponentials) +
                 k.sum_exp(classes - after, largest, z + after, rest);
    return row;
}

}  // namespace

float softmax_cross_entropy(size_t batch, size_t classes, const float* logits,
                            const int64_t* labels) {
    const KernelTable& k = kernels();
    double* const losses = scratch_doubles(Slot::kDoubleSums, Size{batch});
    parallel_for(batch, row_grain(classes), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            const auto label = static_cast<size_t>(labels[i]);
            const Row row = sum_row(k, classes, logits + i * classes, label, nullptr);
            losses[i] = std::log1p(row.others + (row.label - 1)) + row.below;
        }
    });
    double sum = 0;
    for (size_t i = 0; i < batch; ++i) sum += losses[i];
    return static_cast<float>(sum / static_cast<double>(std::max<size_t>(batch, 1)));
}

void softmax_cross_entropy_backward(size_t batch, size_t classes, const float* logits,
                                    const int64_t* labels, float* dlogits) {
    const KernelTable& k = kernels();
    parallel_for(batch, row_grain(classes), [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            const auto label = static_cast<size_t>(labels[i]);
            float* const dz = dlogits + i * classes;
            const Row row = sum_row(k, classes, logits + i * classes, label, dz);
            const double factor = 1 / (row.others + row.label) / static_cast<double>(batch);
            dz[label] = 0;  // written before the row is scaled, and its own value after
            k.scale(classes, static_cast<float>(factor), dz, dz);
            dz[label] = static_cast<float>(-row.others * factor);
        }
    });
}

}  // namespace alexnet::cpu
