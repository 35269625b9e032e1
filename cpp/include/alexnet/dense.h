// Dense layer: y[b,o] = bias[o] + sum over i of x[b,i] · weight[i,o], and its gradients.

#ifndef ALEXNET_DENSE_H_
#define ALEXNET_DENSE_H_

#include <cstddef>

namespace alexnet {

struct DenseShape {
    size_t batch, in_features, out_features;
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
}  // namespace alexnet

#endif  // ALEXNET_DENSE_H_
