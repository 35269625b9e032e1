// Gradients of a convolution with respect to weight and bias, as an implicit matrix product.
//
//   dweight[kh,kw,c,o] = sum over n, oh, ow of
//                        x[n, oh·stride_h - top + kh, ow·stride_w - left + kw, c] · dy[n,oh,ow,o]
//   dbias[o] = sum over n, oh, ow of dy[n,oh,ow,o]
//
// Rows of C are the taps and input channels of the window, columns the output channels of a group;
// the depth runs over the pixels of y. Both operands have neighbours along C's rows and columns.
// C is small and the depth long, so the depth is cut into splits, whose sums a second pass adds in
// order (tile_gemm.cuh): the same bits every time, without atomics. dbias comes beside the product
// (gemm_column_sums.cuh), but where only some results are asked for.
//
// Cost: 2 · outputs · window FLOP; x, dy and dweight once through memory, and in L2 the sums of the
//   splits, splits · 4 · window · out bytes, written and read. Bound: arithmetic.

#include "column_sums.cuh"
#include "conv2d_even_lines.cuh"
#include "hopper_layers.cuh"
#include "storage.cuh"

namespace alexnet::cuda {
namespace {

template <class T>
void backward_weight_of_runs(const Conv2dShape& s, const T* dy, const T* x, Precision precision,
                             float* dweight, float* dbias, void* workspace, Stream stream) {
    Product<RunDepths<T>, MatrixOperand<false, T>, RunWeightRows> p{
        run_operand<RunDepths>(s, x),
        matrix<false>(dy, s.out_channels),
        run_weight_rows(s),
        gemm_index(s.window()),
        gemm_index(s.out_channels),
        gemm_index(s.batch * s.out_height * s.out_width),
        dweight,
        nullptr,
        false};
    p.column_sums = dbias;
    run_product<Layer::kConvolution>(p, 1, precision, true, true, workspace, stream);
}

}  // namespace

size_t conv2d_backward_weight_workspace(const Conv2dShape& s) {
    const size_t pixels = s.batch * s.out_height * s.out_width;
    const bool runs = fits_runs(s) || wants_even_lines(s);
    return even_lines_bytes(s) +
           std::max({product_workspace(Layer::kConvolution, s.window(), s.group_out(), pixels,
                                       s.groups, true),
                     column_sums_workspace(pixels, s.out_channels),
                     runs ? hopper_lines_backward_weight_workspace(with_even_lines(s)) : 0,
                     hopper_conv2d_backward_weight_workspace(s)});
}

template <class T>
void conv2d_backward_weight(const Conv2dShape& s, const T* dy, const T* x, Precision precision,
                            float* dweight, float* dbias, void* workspace, Stream stream,
                            const uint32_t* only) {
    const size_t pixels = s.batch * s.out_height * s.out_width;
    if (hopper_conv2d_backward_weight(s, dy, x, precision, dweight, dbias, workspace, stream)) {
        return;
    }
    const bool dy_vectors = has_vectors(dy, s.group_out());
    const auto of_runs = [&](const Conv2dShape& shape, const T* images, void* rest) {
        if (hopper_lines_backward_weight(shape, dy, images, precision, dweight, dbias, rest,
                                         stream)) {
            return;
        }
        backward_weight_of_runs(shape, dy, images, precision, dweight, dbias, rest, stream);
    };
    if (!only && dy_vectors && as_runs(s, x, workspace, stream, of_runs)) return;
    Product<WindowDepths<T>, MatrixOperand<false, T>, FloatRows> p{
        {input_windows(s, x, all_channels(s.kernel_height, s.kernel_width, s.group_in()))},
        matrix<false>(dy, s.out_channels, s.group_out()),
        {{s.out_channels}},
        gemm_index(s.window()),
        gemm_index(s.group_out()),
        gemm_index(pixels),
        dweight,
        nullptr,
        false};
    if (only) {  // the blocks that would add up dy may have nothing to do
        if (dbias) column_sums(pixels, s.out_channels, dy, dbias, workspace, stream);
    } else {
        p.column_sums = dbias;
    }
    run_marked<Layer::kConvolution>(p, only, s.window(), s.groups, precision,
                                    has_vectors(x, s.group_in()), dy_vectors, workspace, stream);
}

#define ALEXNET_INSTANTIATE(T)                                                              \
    template void conv2d_backward_weight(const Conv2dShape&, const T*, const T*, Precision, \
                                         float*, float*, void*, Stream, const uint32_t*);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
