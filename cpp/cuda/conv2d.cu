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
#include "conv2d_windows.cuh"

namespace alexnet::cuda {

size_t conv2d_workspace(const Conv2dShape& s) {
    return product_workspace(Layer::kConvolution, s.batch * s.out_height * s.out_width,
                             s.group_out(), s.window(), s.groups);
}

template <class T>
void conv2d(const Conv2dShape& s, const T* x, const T* weight, const T* bias, bool relu,
            Precision precision, T* y, void* workspace, Stream stream) {
    if (s.batch == 0) return;
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
    run_product<Layer::kConvolution>(p, s.groups, precision, has_vectors(x, s.group_in()),
                                     has_vectors(weight, s.group_out()), workspace, stream);
}

template void conv2d(const Conv2dShape&, const float*, const float*, const float*, bool, Precision,
                     float*, void*, Stream);
template void conv2d(const Conv2dShape&, const Bfloat16*, const Bfloat16*, const Bfloat16*, bool,
                     Precision, Bfloat16*, void*, Stream);
template void conv2d(const Conv2dShape&, const Float16*, const Float16*, const Float16*, bool,
                     Precision, Float16*, void*, Stream);

}  // namespace alexnet::cuda
