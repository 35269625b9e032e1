// Softmax cross-entropy of logits z (batch, classes) with one label a row, mean over the batch.
//
// With m the largest logit of a row, e_j = exp(z_j - m), and `others` the sum of e_j over all
// classes but the label's:
//   loss           = log1p(others + (e_label - 1)) + (m - z_label)
//   dlogits[j]     = e_j / (others + e_label) / batch          of every class but the label's
//   dlogits[label] = -others / (others + e_label) / batch
// Neither subtracts nearly equal numbers; see cpp/cpu/softmax_cross_entropy.cpp.
//
// Warps: each owns a row, its lanes every 32nd class. The losses of the rows are then added by one
//   block.
// Cost: an exponential in double a class (two with the gradient): of no weight beside
//   the dense layer that makes the logits.
// Numerics: in double until the one rounding of a result. NaN anywhere in a row, or +infinity,
//   makes its results NaN, as in NumPy; so does a label that is no class, where the caller could
//   not check it: nothing is read for it.

#include <limits>

#include "alexnet/softmax_cross_entropy.h"
#include "reduce.cuh"
#include "storage.cuh"

namespace alexnet::cuda {
namespace {

constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();

struct Row {
    double largest, below;  // m, m - z_label
    double label, others;   // e_label, Σ e_j, j other than the label
};

// The larger, or NaN if one is.
__device__ float max_nan(float a, float b) { return b > a || b != b ? b : a; }

// Of a row, in every lane of a warp.
template <class T>
__device__ Row sum_row(size_t classes, const T* z, size_t label, int lane) {
    float most = to_float(z[0]);
    for (size_t j = lane; j < classes; j += kWarp) most = max_nan(most, to_float(z[j]));
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        most = max_nan(most, __shfl_xor_sync(kAllLanes, most, distance));
    }
    Row row;
    row.largest = most;
    row.below = row.largest - static_cast<double>(to_float(z[label]));
    row.label = exp(-row.below);
    double sum = 0;
    for (size_t j = lane; j < classes; j += kWarp) {
        if (j != label) sum += exp(static_cast<double>(to_float(z[j])) - row.largest);
    }
    row.others = warp_sum(sum);
    return row;
}

__device__ size_t row_of_warp() { return (size_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp; }

template <class T>
__global__ void losses_of_rows(size_t batch, size_t classes, const T* logits, const int64_t* labels,
                               double* losses) {
    const size_t i = row_of_warp();
    if (i >= batch) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const auto label = static_cast<size_t>(labels[i]);
    if (label >= classes) {
        if (lane == 0) losses[i] = kNoNumber;
        return;
    }
    const Row row = sum_row(classes, logits + i * classes, label, lane);
    if (lane == 0) losses[i] = log1p(row.others + (row.label - 1)) + row.below;
}

template <class T>
__global__ void gradients_of_rows(size_t batch, size_t classes, const T* logits,
                                  const int64_t* labels, T* dlogits) {
    const size_t i = row_of_warp();
    if (i >= batch) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const auto label = static_cast<size_t>(labels[i]);
    if (label >= classes) {
        for (size_t j = lane; j < classes; j += kWarp) {
            dlogits[i * classes + j] = from_float<T>(kNoNumber);
        }
        return;
    }
    const T* z = logits + i * classes;
    const Row row = sum_row(classes, z, label, lane);
    const double factor = 1 / (row.others + row.label) / static_cast<double>(batch);
    for (size_t j = lane; j < classes; j += kWarp) {
        const double e = exp(static_cast<double>(to_float(z[j])) - row.largest);
        dlogits[i * classes + j] =
            from_float<T>(static_cast<float>((j == label ? -row.others : e) * factor));
    }
}

}  // namespace

size_t softmax_cross_entropy_workspace(size_t batch) { return batch * sizeof(double); }

template <class T>
void softmax_cross_entropy(size_t batch, size_t classes, const T* logits, const int64_t* labels,
                           float* loss, void* workspace, Stream stream) {
    const auto losses = static_cast<double*>(workspace);
    launch("softmax_cross_entropy", losses_of_rows<T>, blocks_for(batch * kWarp), kBlockThreads, 0,
           stream, batch, classes, logits, labels, losses);
    const double scale = 1 / static_cast<double>(std::max<size_t>(batch, 1));
    launch_scaled_sum("softmax_cross_entropy", batch, losses, scale, loss, stream);
}

template <class T>
void softmax_cross_entropy_backward(size_t batch, size_t classes, const T* logits,
                                    const int64_t* labels, T* dlogits, Stream stream) {
    launch("softmax_cross_entropy_backward", gradients_of_rows<T>, blocks_for(batch * kWarp),
           kBlockThreads, 0, stream, batch, classes, logits, labels, dlogits);
}

#define ALEXNET_INSTANTIATE(T)                                                                   \
    template void softmax_cross_entropy(size_t, size_t, const T*, const int64_t*, float*, void*, \
                                        Stream);                                                 \
    template void softmax_cross_entropy_backward(size_t, size_t, const T*, const int64_t*, T*,   \
                                                 Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
