// Batch normalisation: per-channel sums over fixed blocks of pixels and channels, combined in
// order; per-channel coefficients in double; then one pass that writes the result. Each thread owns
// blocks in the first pass and a range of pixels in the last. Cost and numerics are in
// microkernels/batch_norm.cpp.

#include "alexnet/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "dispatch.h"
#include "parallel.h"
#include "scratch.h"

namespace alexnet::cpu {
namespace {

constexpr size_t kGrain = 1 << 15;        // floats a thread at least
constexpr size_t kChannelBlock = 512;     // their sums, 8 KiB, stay in the first-level cache
constexpr size_t kBlockFloats = 1 << 15;  // of one block of pixels, all channels
constexpr size_t kFewestPixels = 64;      // of a block, so that sums are few against elements

// Vectors of one double a channel, long enough to be stored in whole vectors.
class ChannelVectors {
  public:
    ChannelVectors(size_t channels, size_t count)
        : width_(padded(channels)),
          data_(scratch_doubles(Slot::kDoubleSums, Size{count} * width_)) {
        std::fill_n(data_, count * width_, 0.0);
    }
    double* operator[](size_t index) const { return data_ + index * width_; }

  private:
    size_t width_;
    double* data_;
};

size_t block_pixels(size_t channels) { return std::max(kFewestPixels, kBlockFloats / channels); }

size_t pixel_blocks(const BatchNormShape& shape) {
    const size_t pixels = block_pixels(shape.channels);
    return (shape.pixels + pixels - 1) / pixels;
}

// For each channel, with d = x - center: Σ d and Σ d² over the pixels, or Σ dy and Σ dy·d where dy
// is not null. vectors[first ...] takes the sums of each block, two vectors a block; the totals end
// in the first two.
void sum_channels(const KernelTable& k, const BatchNormShape& shape, const float* dy,
                  const float* x, const double* center, const ChannelVectors& vectors,
                  size_t first) {
    const size_t pixels = block_pixels(shape.channels), blocks = pixel_blocks(shape);
    const size_t channel_blocks = (shape.channels + kChannelBlock - 1) / kChannelBlock;
    const size_t task_floats = pixels * std::min(shape.channels, kChannelBlock);
    parallel_for(blocks * channel_blocks, std::max<size_t>(1, kGrain / task_floats),
                 [&](size_t begin, size_t end) {
                     for (size_t task = begin; task < end; ++task) {
                         const size_t block = task / channel_blocks;
                         const size_t channel = task % channel_blocks * kChannelBlock;
                         const size_t at = block * pixels * shape.channels + channel;
                         k.batch_norm_sums(std::min(pixels, shape.pixels - block * pixels),
                                           std::min(kChannelBlock, shape.channels - channel),
                                           shape.channels, dy == nullptr ? nullptr : dy + at,
                                           x + at, center + channel,
                                           vectors[first + 2 * block] + channel,
                                           vectors[first + 2 * block + 1] + channel);
                     }
                 });
    for (size_t block = 1; block < blocks; ++block) {
        for (size_t sum = 0; sum < 2; ++sum) {
            double* const total = vectors[first + sum];
            const double* const part = vectors[first + 2 * block + sum];
            for (size_t c = 0; c < shape.channels; ++c) total[c] += part[c];
        }
    }
}

// y = (x - mean) * scale + shift
void apply(const KernelTable& k, const BatchNormShape& shape, const float* x, const double* mean,
           const double* scale, const double* shift, bool relu, float* y) {
    const size_t channels = shape.channels;
    parallel_for(shape.pixels, std::max<size_t>(1, kGrain / channels),
                 [&](size_t begin, size_t end) {
                     k.batch_norm(end - begin, channels, x + begin * channels, mean, scale, shift,
                                  relu, y + begin * channels);
                 });
}

}  // namespace

void batch_norm_inference(const BatchNormShape& shape, const float* x, const float* gamma,
                          const float* beta, const float* mean, const float* variance,
                          double epsilon, bool relu, float* y) {
    const ChannelVectors vectors(shape.channels, 3);
    double *const center = vectors[0], *const scale = vectors[1], *const shift = vectors[2];
    for (size_t c = 0; c < shape.channels; ++c) {
        center[c] = mean[c];
        scale[c] = gamma[c] / std::sqrt(variance[c] + epsilon);
        shift[c] = beta[c];
    }
    apply(kernels(), shape, x, center, scale, shift, relu, y);
}

// The sums are taken of x - x', x' being the channel's first pixel: the mean square of that is at
// most 1 + pixels times the variance, which bounds what cancels in it, however large the mean is.
void batch_norm_training(const BatchNormShape& shape, const float* x, const float* gamma,
                         const float* beta, double epsilon, bool relu, float* y, float* mean,
                         float* variance) {
    if (shape.pixels == 0) {
        std::fill_n(mean, shape.channels, 0.0f);
        std::fill_n(variance, shape.channels, 0.0f);
        return;
    }
    const KernelTable& k = kernels();
    constexpr size_t kFirstSum = 3;
    const ChannelVectors vectors(shape.channels, kFirstSum + 2 * pixel_blocks(shape));
    double *const center = vectors[0], *const scale = vectors[1], *const shift = vectors[2];
    for (size_t c = 0; c < shape.channels; ++c) center[c] = std::isfinite(x[c]) ? x[c] : 0;
    sum_channels(k, shape, nullptr, x, center, vectors, kFirstSum);
    const auto n = static_cast<double>(shape.pixels);
    for (size_t c = 0; c < shape.channels; ++c) {
        const double offset = vectors[kFirstSum][c] / n;
        double sigma2 = vectors[kFirstSum + 1][c] / n - offset * offset;
        if (sigma2 < 0) sigma2 = 0;  // by rounding; NaN stays
        center[c] += offset;
        scale[c] = gamma[c] / std::sqrt(sigma2 + epsilon);
        shift[c] = beta[c];
        mean[c] = static_cast<float>(center[c]);
        variance[c] = static_cast<float>(sigma2);
    }
    apply(k, shape, x, center, scale, shift, relu, y);
}

void move_average(size_t channels, float share, float factor, const float* value, float* average) {
    for (size_t c = 0; c < channels; ++c) average[c] += share * (factor * value[c] - average[c]);
}

void batch_norm_backward(const BatchNormShape& shape, const float* dy, const float* x,
                         const float* gamma, const float* mean, const float* variance,
                         double epsilon, bool training, float* dx, float* dgamma, float* dbeta) {
    const KernelTable& k = kernels();
    constexpr size_t kFirstSum = 4;
    const ChannelVectors vectors(shape.channels,
                                 kFirstSum + 2 * std::max<size_t>(1, pixel_blocks(shape)));
    double *const center = vectors[0], *const scale = vectors[1];
    double *const constant = vectors[2], *const slope = vectors[3];
    for (size_t c = 0; c < shape.channels; ++c) center[c] = mean[c];
    sum_channels(k, shape, dy, x, center, vectors, kFirstSum);
    const auto n = static_cast<double>(std::max<size_t>(1, shape.pixels));
    for (size_t c = 0; c < shape.channels; ++c) {
        const double inverse = 1 / std::sqrt(variance[c] + epsilon);
        const double sum = vectors[kFirstSum][c], product = vectors[kFirstSum + 1][c] * inverse;
        dbeta[c] = static_cast<float>(sum);
        dgamma[c] = static_cast<float>(product);
        scale[c] = gamma[c] * inverse;
        constant[c] = sum / n;
        slope[c] = product * inverse / n;
    }
    const size_t channels = shape.channels;
    if (!training) {
        std::fill_n(center, channels, 0.0);
        std::fill_n(constant, channels, 0.0);
        apply(k, shape, dy, center, scale, constant, false, dx);
        return;
    }
    parallel_for(shape.pixels, std::max<size_t>(1, kGrain / channels),
                 [&](size_t begin, size_t end) {
                     const size_t at = begin * channels;
                     k.batch_norm_backward(end - begin, channels, dy + at, x + at, center, scale,
                                           constant, slope, dx + at);
                 });
}

}  // namespace alexnet::cpu
