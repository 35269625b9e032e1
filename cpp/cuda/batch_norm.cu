// Batch normalisation of x (pixels, channels), and its gradient.
//   y = (x - mean)·scale + shift, then max(0, y) if asked
//       with scale = gamma / sqrt(variance + epsilon)
//   dx = scale·(dy - (constant + slope·(x - mean)))
//       with the sums Σ dy and Σ dy·(x - mean)
//
// Three kernels: sums over the pixels of a block, two for each channel; then one thread a channel
//   adds the blocks' sums in order and works out the coefficients; then one pass that writes. Where
//   mean and variance are given, only the last.
// Threads: each owns neighbouring channels of some pixels, 16 bytes where their number and the
//   addresses allow it, else one; threadIdx.x runs over channels, threadIdx.y over pixels. In the
//   last pass a thread keeps the coefficients of its channels.
// Cost: sums 3 FLOP and 4 bytes an element (backward 3 and 8), the last pass 3 and 8 (backward 5
//   and 12): memory-bound where the device's double units are not far slower than its float ones.
// Numerics: everything between loading a float and storing one is in double, as on the CPU. Sums
//   are taken of x - x', x' being the channel's first pixel: the mean square of that is at most
//   1 + pixels times the variance, which bounds what cancels in it. Blocks depend on the shape
//   alone.

#include "alexnet/batch_norm.h"
#include "launch.cuh"
#include "storage.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMostSumBlocks = 128;  // along the pixels
constexpr size_t kFewestPixels = 128;   // of one of them
constexpr int kSumRuns = 8;             // threads along the channels
constexpr int kSumRows = 32;            // threads along the pixels

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
// center is mean where that is given, else the channel's first pixel. The order of the sums is the
// same for every width.
template <class T, int width>
__global__ void __launch_bounds__(kSumRuns* kSumRows)
    block_sums(size_t pixels, size_t channels, size_t each, const T* __restrict__ dy,
               const T* __restrict__ x, const float* mean, double* sums) {
    constexpr int kChannels = kSumRuns * width;  // of the block
    double* shared = dynamic_shared<double>();   // (kSumRows, 2, kChannels)
    const size_t block_c = size_t{blockIdx.x} * kChannels;
    const size_t c = block_c + threadIdx.x * width;
    const size_t first = blockIdx.y * each, end = min(first + each, pixels);
    double center[width], sum[width], product[width];
#pragma unroll
    for (int i = 0; i < width; ++i) sum[i] = product[i] = 0;
    if (c < channels) {
        const auto start = load_floats<width>(x + c);
#pragma unroll
        for (int i = 0; i < width; ++i) center[i] = mean ? mean[c + i] : center_of(start.at[i]);
#pragma unroll 2
        for (size_t p = first + threadIdx.y; p < end; p += kSumRows) {
            const auto values = load_floats<width>(x + p * channels + c);
            const auto gradients = dy ? load_floats<width>(dy + p * channels + c) : values;
#pragma unroll
            for (int i = 0; i < width; ++i) {
                const double d = values.at[i] - center[i];
                const double w = dy ? gradients.at[i] : d;
                sum[i] += w;
                product[i] = fma(w, d, product[i]);
            }
        }
    }
    double* own = shared + 2 * threadIdx.y * kChannels + threadIdx.x * width;
#pragma unroll
    for (int i = 0; i < width; ++i) {
        own[i] = sum[i];
        own[kChannels + i] = product[i];
    }
    __syncthreads();
    const auto thread = static_cast<int>(threadIdx.y * kSumRuns + threadIdx.x);
    const int which = thread / kChannels;
    const size_t channel = block_c + thread % kChannels;
    if (which >= 2 || channel >= channels) return;
    double all = 0;
    for (int row = 0; row < kSumRows; ++row) all += shared[2 * row * kChannels + thread];
    sums[(2 * blockIdx.y + which) * channels + channel] = all;
}

__device__ double total(size_t channels, size_t blocks, const double* sums, size_t which,
                        size_t c) {
    double sum = 0;
#pragma unroll 8
    for (size_t b = 0; b < blocks; ++b) sum += sums[(2 * b + which) * channels + c];
    return sum;
}

template <class T>
__global__ void finish_forward(size_t pixels, size_t channels, size_t blocks, const double* sums,
                               const T* x, const float* gamma, const float* beta, double epsilon,
                               float* mean, float* variance, double* k) {
    const size_t c = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    if (pixels == 0) {
        mean[c] = variance[c] = 0;
        return;
    }
    const double n = static_cast<double>(pixels);
    const double offset = total(channels, blocks, sums, 0, c) / n;
    double sigma2 = total(channels, blocks, sums, 1, c) / n - offset * offset;
    if (sigma2 < 0) sigma2 = 0;  // by rounding; NaN stays
    const double mu = center_of(to_float(x[c])) + offset;
    k[kMean * channels + c] = mu;
    k[kScale * channels + c] = gamma[c] / sqrt(sigma2 + epsilon);
    k[kConstant * channels + c] = beta[c];
    mean[c] = static_cast<float>(mu);
    variance[c] = static_cast<float>(sigma2);
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

template <class T>
struct Normalize {
    const T* x;
    bool relu;
    static constexpr bool has_slope = false;

    template <int width, class Channel>
    __device__ Floats<width> of(size_t at, const Channel (&k)[width]) const {
        auto values = load_floats<width>(x + at);
#pragma unroll
        for (int i = 0; i < width; ++i) {
            const double z = values.at[i] - k[i].mean;
            const auto y = static_cast<float>(fma(z, k[i].scale, k[i].constant));
            values.at[i] = relu && y < 0 ? 0.0f : y;
        }
        return values;
    }
};

template <class T>
struct Propagate {
    const T *dy, *x;
    bool training;
    static constexpr bool has_slope = true;

    template <int width, class Channel>
    __device__ Floats<width> of(size_t at, const Channel (&k)[width]) const {
        auto gradients = load_floats<width>(dy + at);
        // Without the terms of training, x must not matter: it may be infinite.
        const auto values = training ? load_floats<width>(x + at) : Floats<width>::of(0);
#pragma unroll
        for (int i = 0; i < width; ++i) {
            const double z = values.at[i] - k[i].mean;
            const double through = training ? fma(z, k[i].slope, k[i].constant) : 0.0;
            gradients.at[i] = static_cast<float>(k[i].scale * (gradients.at[i] - through));
        }
        return gradients;
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

// The coefficients of a channel, in registers.
struct Channel {
    double mean, scale, constant, slope;
};

template <class T, int width, class Function, class Coefficients>
__global__ void __launch_bounds__(kBlockThreads)
    apply(size_t pixels, size_t channels, Function function, Coefficients k, T* result) {
    const size_t first = size_t{blockIdx.x} * blockDim.y + threadIdx.y;
    for (size_t c = threadIdx.x * width; c < channels; c += size_t{blockDim.x} * width) {
        Channel own[width];
#pragma unroll
        for (int i = 0; i < width; ++i) {
            own[i] = {k.get(kMean, c + i), k.get(kScale, c + i), k.get(kConstant, c + i),
                      Function::has_slope ? k.get(kSlope, c + i) : 0.0};
        }
#pragma unroll 2
        for (size_t p = first; p < pixels; p += size_t{gridDim.x} * blockDim.y) {
            const size_t at = p * channels + c;
            store_floats(result + at, function.template of<width>(at, own));
        }
    }
}

template <class T, class Function, class Coefficients>
void launch_apply(const char* name, const BatchNormShape& s, bool vectors, Function function,
                  Coefficients k, T* result, Stream stream) {
    constexpr size_t kMostBlocks = 132 * 8;
    constexpr size_t kThreadPixels = 8;  // at least, for which a thread reads coefficients once
    // Rows of pixels follow each other in memory as the threads of a block do.
    const size_t runs = vectors ? s.channels / kVector<T> : s.channels;
    const auto across = static_cast<unsigned>(std::min<size_t>(runs, kBlockThreads));
    const dim3 block(across, kBlockThreads / across);
    const size_t block_pixels = block.y * kThreadPixels;
    const size_t blocks = std::min((s.pixels + block_pixels - 1) / block_pixels, kMostBlocks);
    launch(name,
           vectors ? apply<T, kVector<T>, Function, Coefficients>
                   : apply<T, 1, Function, Coefficients>,
           static_cast<unsigned>(blocks), block, 0, stream, s.pixels, s.channels, function, k,
           result);
}

template <class T>
void launch_sums(const char* name, const BatchNormShape& s, bool vectors, const T* dy, const T* x,
                 const float* mean, double* sums, Stream stream) {
    const size_t width = vectors ? kVector<T> : 1;
    const size_t across = (s.channels + kSumRuns * width - 1) / (kSumRuns * width);
    const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(sum_blocks(s)));
    launch(name, vectors ? block_sums<T, kVector<T>> : block_sums<T, 1>, grid,
           dim3(kSumRuns, kSumRows), 2 * width * kSumRuns * kSumRows * sizeof(double), stream,
           s.pixels, s.channels, sum_pixels(s.pixels), dy, x, mean, sums);
}

__global__ void move(size_t n, float share, float factor, const float* value, float* average) {
    const size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < n) average[i] += share * (factor * value[i] - average[i]);
}

}  // namespace

size_t batch_norm_workspace(const BatchNormShape& shape) {
    return Size{2 * sum_blocks(shape) + kCoefficients} * shape.channels * sizeof(double);
}

template <class T>
void batch_norm_inference(const BatchNormShape& shape, const T* x, const float* gamma,
                          const float* beta, const float* mean, const float* variance,
                          double epsilon, bool relu, T* y, Stream stream) {
    launch_apply("batch_norm", shape, fits_vectors(shape.channels, x, y), Normalize<T>{x, relu},
                 Given{gamma, beta, mean, variance, epsilon}, y, stream);
}

template <class T>
void batch_norm_training(const BatchNormShape& shape, const T* x, const float* gamma,
                         const float* beta, double epsilon, bool relu, T* y, float* mean,
                         float* variance, void* workspace, Stream stream) {
    const Workspace space(shape, workspace);
    const bool vectors = fits_vectors(shape.channels, x, y);
    launch_sums<T>("batch_norm", shape, vectors, nullptr, x, nullptr, space.sums, stream);
    launch("batch_norm", finish_forward<T>, blocks_for(shape.channels), kBlockThreads, 0, stream,
           shape.pixels, shape.channels, sum_blocks(shape), space.sums, x, gamma, beta, epsilon,
           mean, variance, space.coefficients);
    launch_apply("batch_norm", shape, vectors, Normalize<T>{x, relu},
                 Computed{space.coefficients, shape.channels}, y, stream);
}

template <class T>
void batch_norm_backward(const BatchNormShape& shape, const T* dy, const T* x, const float* gamma,
                         const float* mean, const float* variance, double epsilon, bool training,
                         T* dx, float* dgamma, float* dbeta, void* workspace, Stream stream) {
    const Workspace space(shape, workspace);
    const bool vectors = fits_vectors(shape.channels, dy, x, dx);
    launch_sums("batch_norm_backward", shape, vectors, dy, x, mean, space.sums, stream);
    launch("batch_norm_backward", finish_backward, blocks_for(shape.channels), kBlockThreads, 0,
           stream, shape.pixels, shape.channels, sum_blocks(shape), space.sums, gamma, mean,
           variance, epsilon, training, dgamma, dbeta, space.coefficients);
    launch_apply("batch_norm_backward", shape, vectors, Propagate<T>{dy, x, training},
                 Computed{space.coefficients, shape.channels}, dx, stream);
}

void move_average(size_t channels, float share, float factor, const float* value, float* average,
                  Stream stream) {
    launch("move_average", move, blocks_for(channels), kBlockThreads, 0, stream, channels, share,
           factor, value, average);
}

#define ALEXNET_INSTANTIATE(T)                                                                     \
    template void batch_norm_inference(const BatchNormShape&, const T*, const float*,              \
                                       const float*, const float*, const float*, double, bool, T*, \
                                       Stream);                                                    \
    template void batch_norm_training(const BatchNormShape&, const T*, const float*, const float*, \
                                      double, bool, T*, float*, float*, void*, Stream);            \
    template void batch_norm_backward(const BatchNormShape&, const T*, const T*, const float*,     \
                                      const float*, const float*, double, bool, T*, float*,        \
                                      float*, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
