// Gradient of a convolution with respect to its input, as implicit matrix products.
//
//   dx[n,ih,iw,c] = sum of dy[n,oh,ow,o] · weight[kh,kw,c,o]
//                   over all o, and all (oh, ow, kh, kw) with
//                   oh·stride_h + kh = ih + top and ow·stride_w + kw = iw + left
//
// Along an axis, with a stride, an input at i meets only the taps k ≡ i + pad (mod stride). So dx
// is cut into phases, the inputs i ≡ phase (mod stride): in one of them all meet the same taps, and
// neighbours, `stride` apart, meet neighbours of dy. Each phase is a product of its own: rows of C
// are its pixels, columns the input channels of a group, and the depth runs over the outputs that
// they meet, forwards, so over its taps backwards, and the output channels of the group. Stride 1 has one phase, all of dx.
// A phase without taps has depth 0, which writes its zeros. Where `relu_output` is given, dx is 0
// where that is not positive (gemm_relu.cuh).
//
// Cost: 2 · outputs · window FLOP (taps beyond the border of dy count: they are multiplied as
//   zeros); dy, weight and dx once through memory. Bound: arithmetic.
// Numerics: where a tap lies beyond the border, a weight that is not finite gives NaN (0 · weight).

#include "conv2d_windows.cuh"
#include "hopper_layers.cuh"
#include "storage.cuh"

namespace alexnet::cuda {
namespace {

// One phase along one axis.
struct Phase {
    size_t first, stride;    // inputs first, first + stride, …
    size_t inputs;           // how many
    size_t first_tap, taps;  // taps first_tap, first_tap + stride, …
    size_t output;           // that the first input meets with the first tap, its last one

    Phase(size_t phase, size_t stride, size_t pad, size_t size, size_t kernel)
        : first(phase),
          stride(stride),
          inputs(ceil_div(size - phase, stride)),
          first_tap((phase + pad) % stride),
          taps(first_tap < kernel ? ceil_div(kernel - first_tap, stride) : 0),
          output((phase + pad) / stride) {}
};

struct PhaseProduct {
    Phase h, w;
    size_t m, depth;

    PhaseProduct(const Conv2dShape& s, size_t phase_h, size_t phase_w)
        : h(phase_h, s.stride_height, s.pad_top, s.in_height, s.kernel_height),
          w(phase_w, s.stride_width, s.pad_left, s.in_width, s.kernel_width),
          m(s.batch * h.inputs * w.inputs),
          depth(h.taps * w.taps * s.group_out()) {}
};

template <class Use>
void for_each_phase(const Conv2dShape& s, Use use) {
    for (size_t h = 0; h < std::min(s.stride_height, s.in_height); ++h) {
        for (size_t w = 0; w < std::min(s.stride_width, s.in_width); ++w) {
            use(PhaseProduct(s, h, w));
        }
    }
}

}  // namespace

size_t conv2d_backward_input_workspace(const Conv2dShape& s) {
    size_t bytes = hopper_conv2d_backward_input_workspace(s);  // the phases run one after the other
    for_each_phase(s, [&](const PhaseProduct& phase) {
        bytes = std::max(bytes, product_workspace(Layer::kConvolution, phase.m, s.group_in(),
                                                  phase.depth, s.groups));
    });
    return bytes;
}

template <class T>
void conv2d_backward_input(const Conv2dShape& s, const T* dy, const T* weight, const T* relu_output,
                           Precision precision, T* dx, void* workspace, Stream stream,
                           const uint32_t* only) {
    if (s.batch == 0) return;
    if (hopper_conv2d_backward_input(s, dy, weight, relu_output, precision, dx, workspace,
                                     stream)) {
        return;
    }
    gemm_index(s.batch * s.out_height * s.out_width);
    gemm_index(s.in_height + s.pad_top);
    gemm_index(s.in_width + s.pad_left);
    const bool vectors = has_vectors(dy, s.group_out()) && has_vectors(weight, s.group_out());
    const size_t pixel = s.group_in() * s.out_channels;  // of weight
    gemm_index(pixel);
    for_each_phase(s, [&](const PhaseProduct& phase) {
        const auto& [h, w, m, depth] = phase;
        // Of a phase without taps nothing is read, and any numbers do.
        const auto taps = [](const Phase& axis) { return std::max<size_t>(1, axis.taps); };
        const auto last_tap = [&](const Phase& axis) {
            return axis.first_tap + (taps(axis) - 1) * axis.stride;
        };
        const auto first_output = [&](const Phase& axis) {
            return coordinate(axis.output) - coordinate(taps(axis) - 1);
        };
        const TapOrder order = step_runs<T>(taps(h), taps(w), s.group_out());
        const size_t last = depth > 0 ? last_tap(h) * s.kernel_width + last_tap(w) : 0;
        Product<WindowRows<T>, PhaseWeights<T>, PhaseRows> p{
            {{dy, coordinate(s.out_height), coordinate(s.out_width),
              coordinate(s.out_channels * sizeof(T)), Divisor(h.inputs), Divisor(w.inputs), 1, 1,
              first_output(h), first_output(w), order}},
            {weight + last * pixel, coordinate(s.out_channels),
             static_cast<ptrdiff_t>(h.stride * s.kernel_width * pixel),
             static_cast<ptrdiff_t>(w.stride * pixel), order},
            {s.in_height, s.in_width, s.in_channels, Divisor(h.inputs), Divisor(w.inputs), h.stride,
             w.stride, h.first, w.first},
            gemm_index(m),
            gemm_index(s.group_in()),
            gemm_index(depth),
            dx,
            nullptr,
            false};
        p.relu_output = relu_output;
        run_marked<Layer::kConvolution>(p, only, h.inputs * w.inputs, s.groups, precision, vectors,
                                        vectors, workspace, stream);
    });
}

#define ALEXNET_INSTANTIATE(T)                                                            \
    template void conv2d_backward_input(const Conv2dShape&, const T*, const T*, const T*, \
                                        Precision, T*, void*, Stream, const uint32_t*);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
