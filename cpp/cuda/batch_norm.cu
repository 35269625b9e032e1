// Batch normalisation of x (pixels, channels), and its gradient.
//   y = (x - mean)·scale + shift, then max(0, y) if asked
//       with scale = gamma / sqrt(variance + epsilon)
//   dx = scale·(dy - (constant + slope·(x - mean)))
//       with the sums Σ dy and Σ dy·(x - mean)
//
// Three kernels: sums over the pixels of a block, two for each channel; then one thread a channel
//   adds the blocks' sums in order and works out the coefficients; then one pass that writes. Where
//   mean and variance are given, only the last.
// Threads: threadIdx.x runs over channels, threadIdx.y over pixels, so that a warp reads 128
//   neighbouring bytes; a thread keeps the coefficients of its channel.
// Cost: sums 3 FLOP and 4 bytes an element (backward 3 and 8), the last pass 3 and 8 (backward 5
//   and 12): memory-bound where the device's double units are not far slower than its float ones.
// Numerics: everything between loading a float and storing one is in double, as on the CPU. Sums
//   are taken of x - x', x' being the channel's first pixel: the mean square of that is at most
//   1 + pixels times the variance, which bounds what cancels in it. Blocks depend on the shape
//   alone.

#include "alexnet/batch_norm.h"
#include "device.cuh"
#include "launch.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMostSumBlocks = 128;  // along the pixels
constexpr size_t kFewestPixels = 64;    // of one of them
constexpr int kSumRows = 8;             // threads along the pixels

size_t sum_pixels(size_t pixels) {
    return std::max(kFewestPixels, (pixels + kMostSumBlocks - 1) / kMostSumBlocks);
}
size_t sum_blocks(const BatchNormShape& s) {
    const size_t each = sum_pixels(s.pixels);
    return (s.pixels + each - 1) / each;
}

// Vectors of a double a channel: the blocks' sums, two vectors a block, then the coefficients.
enum Coefficient { kMean, kScale, kConstant, kSlope, kCoefficients };

struct Workspace {
    double *sums, *coefficients;
    Workspace(const BatchNormShape& s, void* memory)
        : sums(static_cast<double*>(memory)), coefficients(sums + 2 * sum_blocks(s) * s.channels) {}
};

__device__ double center_of(float first) { return isfinite(first) ? first : 0.0; }

// With d = x - center: Σ d and Σ d² over a block's pixels, or Σ dy and Σ dy·d where dy is not null.
// center is mean where that is given, else the channel's first pixel.
__global__ void block_sums(size_t pixels, size_t channels, size_t each, const float* dy,
                           const float* x, const float* mean, double* sums) {
    double* shared = dynamic_shared<double>();  // two for each thread
    const size_t c = size_t{blockIdx.x} * kWarp + threadIdx.x;
    const size_t first = blockIdx.y * each, end = min(first + each, pixels);
    double sum = 0, product = 0;
    if (c < channels) {
        const double center = mean ? mean[c] : center_of(x[c]);
        for (size_t p = first + threadIdx.y; p < end; p += kSumRows) {
            const double d = x[p * channels + c] - center;
            const double w = dy ? dy[p * channels + c] : d;
            sum += w;
            product = fma(w, d, product);
        }
    }
    double* own = shared + 2 * (threadIdx.y * kWarp + threadIdx.x);
    own[0] = sum;
    own[1] = product;
    __syncthreads();
    if (threadIdx.y == 0 && c < channels) {
        for (int row = 1; row < kSumRows; ++row) {
            sum += own[2 * row * kWarp];
            product += own[2 * row * kWarp + 1];
        }
        sums[2 * blockIdx.y * channels + c] = sum;
        sums[(2 * blockIdx.y + 1) * channels + c] = product;
    }
}

__device__ double total(size_t channels, size_t blocks, const double* sums, size_t which,
                        size_t c) {
    double sum = 0;
    for (size_t b = 0; b < blocks; ++b) sum += sums[(2 * b + which) * channels + c];
    return sum;
}

__global__ void finish_forward(size_t pixels, size_t channels, size_t blocks, const double* sums,
                               const float* x, const float* gamma, const float* beta,
                               double epsilon, float* mean, float* variance, double* k) {
    const size_t c = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    if (pixels == 0) {
        mean[c] = variance[c] = 0;
        return;
    }
    const double n = static_cast<double>(pixels);
    const double offset = total(channels, blocks, sums, 0, c) / n;
    double spread = total(channels, blocks, sums, 1, c) / n - offset * offset;
    if (spread < 0) spread = 0;  // by rounding; NaN stays
    const double middle = center_of(x[c]) + offset;
    k[kMean * channels + c] = middle;
    k[kScale * channels + c] = gamma[c] / sqrt(spread + epsilon);
    k[kConstant * channels + c] = beta[c];
    mean[c] = static_cast<float>(middle);
    variance[c] = static_cast<float>(spread);
}

__global__ void finish_backward(size_t pixels, size_t channels, size_t blocks, const double* sums,
                                const float* gamma, const float* mean, const float* variance,
                                double epsilon, bool training, float* dgamma, float* dbeta,
                                double* k) {
    const size_t c = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    const double inverse = 1 / sqrt(variance[c] + epsilon);
    const double sum = total(channels, blocks, sums, 0, c);
    const double product = total(channels, blocks, sums, 1, c) * inverse;
    const double n = pixels ? static_cast<double>(pixels) : 1.0;
    dbeta[c] = static_cast<float>(sum);
    dgamma[c] = static_cast<float>(product);
    k[kMean * channels + c] = mean[c];
    k[kScale * channels + c] = gamma[c] * inverse;
    k[kConstant * channels + c] = training ? sum / n : 0.0;
    k[kSlope * channels + c] = training ? product * inverse / n : 0.0;
}

// --- the pass that writes ------------------------------------------------------------------------

struct Normalize {
    const float* x;
    bool relu;
    __device__ float of(size_t i, double mean, double scale, double shift, double) const {
        const auto y = static_cast<float>(fma(x[i] - mean, scale, shift));
        return relu && y < 0 ? 0.0f : y;
    }
};

struct Propagate {
    const float *dy, *x;
    bool training;
    __device__ float of(size_t i, double mean, double scale, double constant, double slope) const {
        // Without the terms of training, x must not matter: it may be infinite.
        const double through = training ? fma(x[i] - mean, slope, constant) : 0.0;
        return static_cast<float>(scale * (dy[i] - through));
    }
};

// Coefficients from those of the workspace, or from the arguments of inference.
struct Computed {
    const double* k;
    size_t channels;
    __device__ double get(Coefficient which, size_t c) const { return k[which * channels + c]; }
};

struct Given {
    const float *gamma, *beta, *mean, *variance;
    double epsilon;
    __device__ double get(Coefficient which, size_t c) const {
        if (which == kMean) return mean[c];
        if (which == kScale) return gamma[c] / sqrt(variance[c] + epsilon);
        return which == kConstant ? beta[c] : 0.0;
    }
};

template <class Function, class Coefficients>
__global__ void apply(size_t pixels, size_t channels, Function function, Coefficients k,
                      float* result) {
    const size_t first = size_t{blockIdx.x} * blockDim.y + threadIdx.y;
    for (size_t c = threadIdx.x; c < channels; c += blockDim.x) {
        const double mean = k.get(kMean, c), scale = k.get(kScale, c);
        const double constant = k.get(kConstant, c);
        const double slope = k.get(kSlope, c);
        for (size_t p = first; p < pixels; p += size_t{gridDim.x} * blockDim.y) {
            const size_t i = p * channels + c;
            result[i] = function.of(i, mean, scale, constant, slope);
        }
    }
}

template <class Function, class Coefficients>
void launch_apply(const char* name, const BatchNormShape& s, Function function, Coefficients k,
                  float* result, Stream stream) {
    constexpr size_t kMostBlocks = 132 * 8 * 2;
    const dim3 block = channel_block(s.channels);
    const size_t blocks = std::min((s.pixels + block.y - 1) / block.y, kMostBlocks);
    launch(name, apply<Function, Coefficients>, static_cast<unsigned>(blocks), block, 0, stream,
           s.pixels, s.channels, function, k, result);
}

void launch_sums(const char* name, const BatchNormShape& s, const float* dy, const float* x,
                 const float* mean, double* sums, Stream stream) {
    const dim3 grid(static_cast<unsigned>((s.channels + kWarp - 1) / kWarp),
                    static_cast<unsigned>(sum_blocks(s)));
    launch(name, block_sums, grid, dim3(kWarp, kSumRows), 2 * kWarp * kSumRows * sizeof(double),
           stream, s.pixels, s.channels, sum_pixels(s.pixels), dy, x, mean, sums);
}

}  // namespace

size_t batch_norm_workspace(const BatchNormShape& shape) {
    return Size{2 * sum_blocks(shape) + kCoefficients} * shape.channels * sizeof(double);
}

void batch_norm_inference(const BatchNormShape& shape, const float* x, const float* gamma,
                          const float* beta, const float* mean, const float* variance,
                          double epsilon, bool relu, float* y, Stream stream) {
    launch_apply("batch_norm", shape, Normalize{x, relu},
                 Given{gamma, beta, mean, variance, epsilon}, y, stream);
}

void batch_norm_training(const BatchNormShape& shape, const float* x, const float* gamma,
                         const float* beta, double epsilon, bool relu, float* y, float* mean,
                         float* variance, void* workspace, Stream stream) {
    const Workspace space(shape, workspace);
    launch_sums("batch_norm", shape, nullptr, x, nullptr, space.sums, stream);
    launch("batch_norm", finish_forward, blocks_for(shape.channels), kBlockThreads, 0, stream,
           shape.pixels, shape.channels, sum_blocks(shape), space.sums, x, gamma, beta, epsilon,
           mean, variance, space.coefficients);
    launch_apply("batch_norm", shape, Normalize{x, relu},
                 Computed{space.coefficients, shape.channels}, y, stream);
}

void batch_norm_backward(const BatchNormShape& shape, const float* dy, const float* x,
                         const float* gamma, const float* mean, const float* variance,
                         double epsilon, bool training, float* dx, float* dgamma, float* dbeta,
                         void* workspace, Stream stream) {
    const Workspace space(shape, workspace);
    launch_sums("batch_norm_backward", shape, dy, x, mean, space.sums, stream);
    launch("batch_norm_backward", finish_backward, blocks_for(shape.channels), kBlockThreads, 0,
           stream, shape.pixels, shape.channels, sum_blocks(shape), space.sums, gamma, mean,
           variance, epsilon, training, dgamma, dbeta, space.coefficients);
    launch_apply("batch_norm_backward", shape, Propagate{dy, x, training},
                 Computed{space.coefficients, shape.channels}, dx, stream);
}

}  // namespace alexnet::cuda
