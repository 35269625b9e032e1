// Convolution forward as an implicit matrix product (tile_gemm.cuh, gemm_operands.cuh).
//
//   y[n,oh,ow,o] = act(bias[o] + sum over kh, kw, c of
//                  x[n, oh·stride_h - top + kh, ow·stride_w - left + kw, c] · weight[kh,kw,c,o])
//
// Rows of C are the pixels of y, columns the output channels of a group, and the depth runs over
// the window, a few channels at a time and of those all taps (TapOrder): NHWC and HWIO have both
// operands in runs of neighbours as they are, and no im2col buffer is written. Taps on padding are
// multiplied as zeros, as the reference does.
//
// Cost: 2 · outputs · window FLOP; x, weight and y once through memory, and each pixel of x
//   kernel_height · kernel_width / (stride_h · stride_w) times through L1. Bound: arithmetic.

#include "alexnet/conv2d.h"
#include "conv2d_even_lines.cuh"
#include "hopper_layers.cuh"
#include "storage.cuh"

namespace alexnet::cuda {
namespace {

template <class T>
void conv2d_of_runs(const Conv2dShape& s, const T* x, const T* weight, const float* bias, bool relu,
                    Precision precision, T* y, void* workspace, Stream stream) {
    const Product<RunRows<T>, RunWeights<T>, MatrixRows> p{
        run_operand<RunRows>(s, x),
        run_weights(s, weight),
        {s.out_channels},
        gemm_index(s.batch * s.out_height * s.out_width),
        gemm_index(s.out_channels),
        gemm_index(s.window()),
        y,
        bias,
        relu};
    run_product<Layer::kConvolution>(p, 1, precision, true, true, workspace, stream);
}

}  // namespace

size_t conv2d_workspace(const Conv2dShape& s) {
    return even_lines_bytes(s) +
           std::max(product_workspace(Layer::kConvolution, s.batch * s.out_height * s.out_width,
                                      s.group_out(), s.window(), s.groups),
                    hopper_conv2d_workspace(s));
}

template <class T>
void conv2d(const Conv2dShape& s, const T* x, const T* weight, const float* bias, bool relu,
            Precision precision, T* y, void* workspace, Stream stream, const uint32_t* only) {
    if (s.batch == 0) return;
    const bool weight_vectors = has_vectors(weight, s.group_out());
    if (hopper_conv2d(s, x, weight, bias, relu, precision, y, workspace, stream)) return;
    const auto of_runs = [&](const Conv2dShape& shape, const T* images, void* rest) {
        if (hopper_lines_conv2d(shape, images, weight, bias, relu, precision, y, stream)) return;
        conv2d_of_runs(shape, images, weight, bias, relu, precision, y, rest, stream);
    };
    if (!only && weight_vectors && as_runs(s, x, workspace, stream, of_runs)) return;
    const auto order = step_runs<T>(s.kernel_height, s.kernel_width, s.group_in());
    const Product<WindowRows<T>, TapWeights<T>, MatrixRows> p{
        {input_windows(s, x, order)},
        {weight, coordinate(s.out_channels * sizeof(T)), s.group_out(), order},
        {s.out_channels},
        gemm_index(s.batch * s.out_height * s.out_width),
        gemm_index(s.group_out()),
        gemm_index(s.window()),
        y,
        bias,
        relu};
    run_marked<Layer::kConvolution>(p, only, s.out_height * s.out_width, s.groups, precision,
                                    has_vectors(x, s.group_in()), weight_vectors, workspace,
                                    stream);
}

#define ALEXNET_INSTANTIATE(T)                                                                  \
    template void conv2d(const Conv2dShape&, const T*, const T*, const float*, bool, Precision, \
                         T*, void*, Stream, const uint32_t*);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
