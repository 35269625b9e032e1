// 2-D convolution (cross-correlation, as in all frameworks), NHWC activations, HWIO weights.
//
//   y[n,oh,ow,o] = bias[o] + sum over kh, kw, c of
//                  x[n, oh*stride_h - pad_top + kh, ow*stride_w - pad_left + kw, g*C + c]
//                  * weight[kh,kw,c,o]        with o in group g, C = in_channels / groups
//
// x outside the image is 0, and multiplied like any other 0: with a weight that is not finite it
// makes NaN. Every output size is at least 1; batch may be 0.

#ifndef ALEXNET_CONV2D_H_
#define ALEXNET_CONV2D_H_

#include <cstddef>
#include <cstdint>

#include "alexnet/cuda_stream.h"
#include "alexnet/precision.h"
#include "alexnet/size.h"

namespace alexnet {

struct Conv2dShape {
    size_t batch, in_height, in_width, in_channels;
    size_t out_height, out_width, out_channels;
    size_t kernel_height, kernel_width;
    size_t stride_height, stride_width;
    size_t pad_top, pad_left;
    size_t groups;

    size_t group_in() const { return in_channels / groups; }
    size_t group_out() const { return out_channels / groups; }
    size_t window() const { return kernel_height * kernel_width * group_in(); }
    Size input_size() const { return Size{batch} * in_height * in_width * in_channels; }
    Size output_size() const { return Size{batch} * out_height * out_width * out_channels; }
    Size weight_size() const {
        return Size{kernel_height} * kernel_width * group_in() * out_channels;
    }
    size_t input_pixel(size_t n, size_t h, size_t w) const {
        return ((n * in_height + h) * in_width + w) * in_channels;
    }
    size_t output_pixel(size_t n, size_t h, size_t w) const {
        return ((n * out_height + h) * out_width + w) * out_channels;
    }
};

enum class ConvDirection { kForward, kBackwardInput, kBackwardWeight };

namespace cpu {

using alexnet::ConvDirection;
enum class ConvAlgorithm { kNaive, kIm2col, kDirect, kWinograd };

// What algorithm="auto" stands for: winograd where it can serve the shape and its count of
// operations promises to be faster (winograd_choice.cpp), else direct. Where the shape is mostly
// padding every choice stands for naive, so that memory and work go with what is there
// (conv2d.cpp).
ConvAlgorithm choose_algorithm(const Conv2dShape& shape, ConvDirection direction);

// Why an algorithm can't serve a shape; null where it can.
const char* unsupported(const Conv2dShape& shape, ConvDirection direction, ConvAlgorithm algorithm);

// Weights as a forward would pack or transform them at every call, for those that stay the same.
// They are for shapes that differ in the batch alone, for one algorithm, and for the instruction
// set that was in use. 0 floats: a convolution of this shape has nothing to gain from it.
Size prepared_weight_size(const Conv2dShape& shape, ConvAlgorithm algorithm);
void prepare_weight(const Conv2dShape& shape, const float* weight, ConvAlgorithm algorithm,
                    float* prepared);

// bias may be null, and so may `prepared`: the same weights, prepared for this very call. The bits
// are the same with and without them.
void conv2d(const Conv2dShape& shape, const float* x, const float* weight, const float* bias,
            bool relu, ConvAlgorithm algorithm, float* y, const float* prepared = nullptr);

// dx[n,ih,iw,c] = sum of dy · weight over the outputs that read x[n,ih,iw,c], and no others.
void conv2d_backward_input(const Conv2dShape& shape, const float* dy, const float* weight,
                           ConvAlgorithm algorithm, float* dx);

// dweight[kh,kw,c,o] = sum over n, oh, ow of x(window) · dy;  dbias[o] = sum of dy.
void conv2d_backward_weight(const Conv2dShape& shape, const float* dy, const float* x,
                            ConvAlgorithm algorithm, float* dweight, float* dbias);

}  // namespace cpu

namespace cuda {

// The same on the device, as implicit matrix products. `workspace` is device memory, aligned to 16
// bytes, of as many bytes as the function's namesake says; several calls on one stream may share
// it. T is float, multiplied as `precision` says, or Bfloat16 or Float16 (storage.h), which the tensor
// cores multiply, with sums in float32. Where `only` is given, of floats, only those images are
// computed whose entry there is not 0, or the gradient of the weight if the first is not; the others'
// results stay as they are. Where `relu_output`, of x's shape, is not null, x was that, a ReLU's output,
// and dx is the gradient before the ReLU: 0 where it is not positive (relu.h). dbias may be null.
size_t conv2d_workspace(const Conv2dShape& shape);
template <class T>
void conv2d(const Conv2dShape& shape, const T* x, const T* weight, const float* bias, bool relu,
            Precision precision, T* y, void* workspace, Stream stream,
            const uint32_t* only = nullptr);

size_t conv2d_backward_input_workspace(const Conv2dShape& shape);
template <class T>
void conv2d_backward_input(const Conv2dShape& shape, const T* dy, const T* weight,
                           const T* relu_output, Precision precision, T* dx, void* workspace,
                           Stream stream, const uint32_t* only = nullptr);

size_t conv2d_backward_weight_workspace(const Conv2dShape& shape);
template <class T>
void conv2d_backward_weight(const Conv2dShape& shape, const T* dy, const T* x, Precision precision,
                            float* dweight, float* dbias, void* workspace, Stream stream,
                            const uint32_t* only = nullptr);

// The same by Winograd's algorithm, in float32, for shapes for which winograd_unsupported, the
// reason why it can't serve one, is null; whether that promises to be faster (winograd_plan.cu).
// `most_floats`: of transformed tiles that are in memory at once, if it is enough for an image.
const char* winograd_unsupported(const Conv2dShape& shape, ConvDirection direction);
bool winograd_is_faster(const Conv2dShape& shape, ConvDirection direction);

size_t conv2d_winograd_workspace(const Conv2dShape& shape, size_t most_floats);
void conv2d_winograd(const Conv2dShape& shape, size_t most_floats, const float* x,
                     const float* weight, const float* bias, bool relu, float* y, void* workspace,
                     Stream stream);

size_t conv2d_winograd_backward_input_workspace(const Conv2dShape& shape, size_t most_floats);
void conv2d_winograd_backward_input(const Conv2dShape& shape, size_t most_floats, const float* dy,
                                    const float* weight, const float* relu_output, float* dx,
                                    void* workspace, Stream stream);

size_t conv2d_winograd_backward_weight_workspace(const Conv2dShape& shape, size_t most_floats);
void conv2d_winograd_backward_weight(const Conv2dShape& shape, size_t most_floats, const float* dy,
                                     const float* x, float* dweight, float* dbias, void* workspace,
                                     Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_CONV2D_H_
