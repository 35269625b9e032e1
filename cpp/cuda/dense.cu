// Dense layer and its gradients as tile products (tile_gemm.cuh).
//
//   y[b,o]  = act(bias[o] + sum over i of x[b,i] · weight[i,o])
//   dx[b,i] = sum over o of dy[b,o] · weight[i,o]
//   dweight[i,o] = sum over b of x[b,i] · dy[b,o]         dbias[o] = sum over b of dy[b,o]
//
// Cost, each: 2 · batch · in · out FLOP and 4 · in · out bytes for the weights, once: batch / 2
// FLOP a byte. An H100 does 60 / 3.35 = 18 FLOP of float32 in the time of a byte: memory is the
// bound up to a batch of 36. Splits (gemm_launch.cuh) bring small batches to all multiprocessors.

#include "alexnet/dense.h"
#include "column_sums.cuh"
#include "gemm_launch.cuh"
#include "hopper_layers.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

size_t dense_workspace(const DenseShape& s) {
    return std::max(product_workspace(Layer::kDense, s.batch, s.out_features, s.in_features, 1),
                    hopper_dense_workspace(s));
}

template <class T>
void dense(const DenseShape& s, const T* x, const T* weight, const float* bias, bool relu,
           Precision precision, T* y, void* workspace, Stream stream) {
    if (s.batch == 0) return;
    if (hopper_dense(s, x, weight, bias, relu, precision, y, workspace, stream)) return;
    Product<MatrixOperand<true, T>, MatrixOperand<false, T>, MatrixRows> p{
        matrix<true>(x, s.in_features),
        matrix<false>(weight, s.out_features),
        {s.out_features},
        gemm_index(s.batch),
        gemm_index(s.out_features),
        gemm_index(s.in_features),
        y,
        bias,
        relu};
    run_product<Layer::kDense>(p, 1, precision, has_vectors(x, s.in_features),
                               has_vectors(weight, s.out_features), workspace, stream);
}

size_t dense_backward_input_workspace(const DenseShape& s) {
    return std::max(product_workspace(Layer::kDense, s.batch, s.in_features, s.out_features, 1),
                    hopper_dense_backward_input_workspace(s));
}

template <class T>
void dense_backward_input(const DenseShape& s, const T* dy, const T* weight, const T* relu_output,
                          Precision precision, T* dx, void* workspace, Stream stream) {
    if (s.batch == 0) return;
    if (hopper_dense_backward_input(s, dy, weight, relu_output, precision, dx, workspace, stream)) {
        return;
    }
    Product<MatrixOperand<true, T>, MatrixOperand<true, T>, InputRows> p{
        matrix<true>(dy, s.out_features),
        matrix<true>(weight, s.out_features),
        {{s.in_features}},
        gemm_index(s.batch),
        gemm_index(s.in_features),
        gemm_index(s.out_features),
        dx,
        nullptr,
        false};
    p.relu_output = relu_output;
    run_product<Layer::kDense>(p, 1, precision, has_vectors(dy, s.out_features),
                               has_vectors(weight, s.out_features), workspace, stream);
}

size_t dense_backward_weight_workspace(const DenseShape& s) {
    return std::max(
        {product_workspace(Layer::kDense, s.in_features, s.out_features, s.batch, 1, true),
         column_sums_workspace(s.batch, s.out_features),
         hopper_dense_backward_weight_workspace(s)});
}

template <class T>
void dense_backward_weight(const DenseShape& s, const T* dy, const T* x, Precision precision,
                           float* dweight, float* dbias, void* workspace, Stream stream) {
    if (hopper_dense_backward_weight(s, dy, x, precision, dweight, dbias, workspace, stream)) {
        return;
    }
    Product<MatrixOperand<false, T>, MatrixOperand<false, T>, FloatRows> p{
        matrix<false>(x, s.in_features),
        matrix<false>(dy, s.out_features),
        {{s.out_features}},
        gemm_index(s.in_features),
        gemm_index(s.out_features),
        gemm_index(s.batch),
        dweight,
        nullptr,
        false};
    p.column_sums = dbias;
    run_product<Layer::kDense>(p, 1, precision, has_vectors(x, s.in_features),
                               has_vectors(dy, s.out_features), workspace, stream);
}

#define ALEXNET_INSTANTIATE(T)                                                                     \
    template void dense(const DenseShape&, const T*, const T*, const float*, bool, Precision, T*,  \
                        void*, Stream);                                                            \
    template void dense_backward_input(const DenseShape&, const T*, const T*, const T*, Precision, \
                                       T*, void*, Stream);                                         \
    template void dense_backward_weight(const DenseShape&, const T*, const T*, Precision, float*,  \
                                        float*, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
