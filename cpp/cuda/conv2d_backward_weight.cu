// Gradients of a convolution with respect to weight and bias, as an implicit matrix product.
//
//   dweight[kh,kw,c,o] = sum over n, oh, ow of
//                        x[n, oh·stride_h - top + kh, ow·stride_w - left + kw, c] · dy[n,oh,ow,o]
//   dbias[o] = sum over n, oh, ow of dy[n,oh,ow,o]
//
// Rows of C are the taps and input channels of the window, columns the output channels of a group;
// the depth runs over the pixels of y. Both operands have neighbours along C's rows and columns.
// C is small and the depth long, so the depth is cut into splits, whose sums a second pass adds in
// order (tile_gemm.cuh): the same bits every time, without atomics.
//
// Cost: 2 · outputs · window FLOP; x, dy and dweight once through memory, and in L2 the sums of the
//   splits, splits · 4 · window · out bytes, written and read. Bound: arithmetic.

#include "column_sums.cuh"
#include "conv2d_windows.cuh"

namespace alexnet::cuda {

size_t conv2d_backward_weight_workspace(const Conv2dShape& s) {
    const size_t pixels = s.batch * s.out_height * s.out_width;
    return std::max(
        product_workspace(Layer::kConvolution, s.window(), s.group_out(), pixels, s.groups),
        column_sums_workspace(pixels, s.out_channels));
}

template <class T>
void conv2d_backward_weight(const Conv2dShape& s, const T* dy, const T* x, Precision precision,
                            T* dweight, T* dbias, void* workspace, Stream stream) {
    const size_t pixels = s.batch * s.out_height * s.out_width;
    column_sums(pixels, s.out_channels, dy, dbias, workspace, stream);
    const Product<WindowDepths<T>, MatrixOperand<false, T>, MatrixRows> p{
        {input_windows(s, x, all_channels(s.kernel_height, s.kernel_width, s.group_in()))},
        matrix<false>(dy, s.out_channels, s.group_out()),
        {s.out_channels},
        gemm_index(s.window()),
        gemm_index(s.group_out()),
        gemm_index(pixels),
        dweight,
        nullptr,
        false};
    run_product<Layer::kConvolution>(p, s.groups, precision, has_vectors(x, s.group_in()),
                                     has_vectors(dy, s.group_out()), workspace, stream);
}

template void conv2d_backward_weight(const Conv2dShape&, const float*, const float*, Precision,
                                     float*, float*, void*, Stream);
template void conv2d_backward_weight(const Conv2dShape&, const Bfloat16*, const Bfloat16*,
                                     Precision, Bfloat16*, Bfloat16*, void*, Stream);
template void conv2d_backward_weight(const Conv2dShape&, const Float16*, const Float16*, Precision,
                                     Float16*, Float16*, void*, Stream);

}  // namespace alexnet::cuda
