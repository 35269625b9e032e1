// Dense layer: y[b,o] = bias[o] + sum over i of x[b,i] · weight[i,o], and its gradients.

#ifndef ALEXNET_DENSE_H_
#define ALEXNET_DENSE_H_

#include <cstddef>

#include "alexnet/cuda_stream.h"
#include "alexnet/precision.h"
#include "alexnet/size.h"

namespace alexnet {

struct DenseShape {
    size_t batch, in_features, out_features;

    Size input_size() const { return Size{batch} * in_features; }
    Size output_size() const { return Size{batch} * out_features; }
    Size weight_size() const { return Size{in_features} * out_features; }
};

namespace cpu {

// bias may be null.
void dense(const DenseShape& shape, const float* x, const float* weight, const float* bias,
           bool relu, float* y);

// dx[b,i] = sum over o of dy[b,o] · weight[i,o]
void dense_backward_input(const DenseShape& shape, const float* dy, const float* weight, float* dx);

// dweight[i,o] = sum over b of x[b,i] · dy[b,o];  dbias[o] = sum over b of dy[b,o]
void dense_backward_weight(const DenseShape& shape, const float* dy, const float* x, float* dweight,
                           float* dbias);

}  // namespace cpu

namespace cuda {

// The same on the device. `workspace` is device memory, aligned to 16 bytes, of as many bytes as
// the function's namesake says; several calls on one stream may share it. T is float, multiplied as
// `precision` says, or Bfloat16 or Float16 (storage.h), which the tensor cores multiply, with sums in
// float32. Where `relu_output`, of x's shape, is not null, x was that, a ReLU's output, and dx is the
// gradient before the ReLU: 0 where it is not positive (relu.h). dbias may be null.
size_t dense_workspace(const DenseShape& shape);
template <class T>
void dense(const DenseShape& shape, const T* x, const T* weight, const float* bias, bool relu,
           Precision precision, T* y, void* workspace, Stream stream);

size_t dense_backward_input_workspace(const DenseShape& shape);
template <class T>
void dense_backward_input(const DenseShape& shape, const T* dy, const T* weight,
                          const T* relu_output, Precision precision, T* dx, void* workspace,
                          Stream stream);

size_t dense_backward_weight_workspace(const DenseShape& shape);
template <class T>
void dense_backward_weight(const DenseShape& shape, const T* dy, const T* x, Precision precision,
                           float* dweight, float* dbias, void* workspace, Stream stream);

}  // namespace cuda
}  // namespace alexnet

#endif  // ALEXNET_DENSE_H_
