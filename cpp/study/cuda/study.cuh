// What every rung of the CUDA ladders includes: shapes, the launch, and the few things of the device
// that plain C++ has not (device.cuh: shared memory, asynchronous copies, tensor cores).
//
// A rung is one file with one idea: kernels, and one function, RUNG, which puts them on a stream and
// overwrites the last array. Its ladder, the folder, says what the function gets. All arrays are on
// the device, float32, contiguous and aligned to 16 bytes, activations NHWC, weights HWIO or
// (in, out):
//
//   conv2d_forward_cuda          RUNG(const Conv2d& s, const float* x, const float* weight, float* y,
//                                     Stream stream)
//   conv2d_first_layer_cuda      the same
//   conv2d_input_gradient_cuda   RUNG(const Conv2d& s, const float* dy, const float* weight,
//                                     float* dx, Stream stream)
//   conv2d_weight_gradient_cuda  RUNG(const Conv2d& s, const float* dy, const float* x,
//                                     float* dweight, Stream stream)
//   dense_forward_cuda           RUNG(const Dense& s, const float* x, const float* weight, float* y,
//                                     Stream stream)
//   lrn_forward_cuda             RUNG(const Lrn& s, const float* x, float* y, Stream stream)
//   lrn_gradient_cuda            RUNG(const Lrn& s, const float* dy, const float* x,
//                                     const float* sums, float* dx, Stream stream)
//   max_pool2d_forward_cuda      RUNG(const MaxPool2d& s, const float* x, float* y, Stream stream)
//   max_pool2d_gradient_cuda     RUNG(const MaxPool2d& s, const float* dy, const float* x,
//                                     const float* taps, float* dx, Stream stream)
//
// `sums` and `taps` are as in study.h. A rung whose tests of the shape fail returns without a launch.
// Kernels compute with 32-bit integers: alexnet.study refuses arrays of 2^31 elements or more.

#ifndef ALEXNET_STUDY_CUDA_STUDY_CUH_
#define ALEXNET_STUDY_CUDA_STUDY_CUH_

#include "device.cuh"
#include "launch.cuh"

#define ALEXNET_STUDY_JOIN(rung) alexnet_study_##rung##_cuda
#define ALEXNET_STUDY_NAME(rung) ALEXNET_STUDY_JOIN(rung)
#define RUNG extern "C" void ALEXNET_STUDY_NAME(ALEXNET_RUNG)

namespace alexnet::study {

// The shapes of shapes.h, in the integers of the device.
struct Conv2d {
    int batch, in_height, in_width, in_channels;
    int out_height, out_width, out_channels;
    int kernel_height, kernel_width, stride, pad_top, pad_left;
};

struct Dense {
    int batch, in_features, out_features;
};

struct Lrn {
    int pixels, channels, radius;
    float bias, alpha, beta;
};

struct MaxPool2d {
    int batch, in_height, in_width, channels, out_height, out_width, window, stride;
};

// Memory of the device of that many floats, aligned to 256 bytes, the same at every call until a
// larger one is asked for; its contents are unspecified.
float* scratch(size_t floats);

// Number of the thread in the grid, of one dimension.
__device__ inline int thread_number() {
    return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
}

// The same in its block.
__device__ inline int thread_of_block() { return static_cast<int>(threadIdx.x); }

// Blocks, each for `each` of `count` elements.
inline unsigned blocks(int count, int each) {
    return static_cast<unsigned>((count + each - 1) / each);
}

}  // namespace alexnet::study

using namespace alexnet::study;
using namespace alexnet::cuda;

#endif  // ALEXNET_STUDY_CUDA_STUDY_CUH_
