// Convolution forward, and the gradient of its input, by Winograd's minimal filtering (Lavin and
// Gray, arXiv 1509.09308; docs/kernels/winograd.md has the idea): fewer multiplications for more
// additions, in float32 on the FMA units.
//
//   U = G · g · Gᵀ   V = Bᵀ · d · B   M = V · U at each tile element   y = act(Aᵀ · M · A + bias)
//
// Each step is a kernel: weights to U, tiles of x to V, one matrix product for each tile element and
// group (tile_gemm.cuh), and M to y. V and M are in memory for a chunk of the images at a time.
// The gradient of the input is the forward convolution of dy with flipped weights.
//
// Cost: 2 · elements · tiles · in · out FLOP, elements · tiles · (in + out) · 8 bytes of V and M and
//   elements · in · out · 8 of U through L2 or memory, and 5 launches and one of the direct
//   algorithm that ends at once. 13 × 13 outputs of 3 × 3 windows: 441 products a pair of channels
//   (9 tiles of 49) or 576 (16 of 36) instead of 1521; 27 × 27 of 5 × 5: 3136 instead of 18225.
// Bound: FMA units, then memory; docs/gpu.md has the count layer by layer.
// Numerics: relative L2 error 2e-6 to 5e-6; winograd_guard.cu says what is left to direct for that. The same bits
//   on every run.

#include "winograd_memory.cuh"

namespace alexnet::cuda {
namespace {

// U of a group's (in, out) weights, HWIO. `flipped`: of the gradient of the input, whose taps come
// in reverse; in and out are then those of the convolution that it is the gradient of. A thread owns
// one pair of channels. Clears the marks as well.
template <class Size>
__global__ void __launch_bounds__(kWarp* kTilesOfBlock)
    weights_to_points(const float* weight, uint32_t in, uint32_t out, Divisor group_out,
                      bool flipped, const ElementMatrices u, uint32_t* marks, uint32_t images) {
    constexpr int kTaps = Size::window, kPoints = Size::points;
    const uint32_t o = blockIdx.y * kWarp + threadIdx.x;
    const uint32_t c = blockIdx.x * kTilesOfBlock + threadIdx.y;
    if (blockIdx.x == 0 && blockIdx.y == 0) {
        for (uint32_t i = threadIdx.y * kWarp + threadIdx.x; i < images;
             i += kWarp * kTilesOfBlock) {
            marks[i] = 0;
        }
    }
    if (o >= out || c >= in) return;
    const uint32_t group = group_out.quotient(o);
    float* target = u.at(group, kPoints * kPoints, c, o - group * group_out.value());
    transform_tile<ToPoints<kPoints, kTaps>>(
        [&](int i, int j) {
            const int tap = i * kTaps + j;
            const int place = flipped ? kTaps * kTaps - 1 - tap : tap;
            return weight[(size_t{static_cast<unsigned>(place)} * in + c) * out + o];
        },
        [&](int i, int j, float value) { target[(i * kPoints + j) * u.element] = value; });
}

// M = V · U, for all tile elements and groups. U lies as (in, out) of `weights`' convolution.
template <bool flipped>
Product<MatrixOperand<true>, MatrixOperand<flipped>, MatrixRows> products(
    const WinogradPlan& p, size_t tiles, const float* v, const float* u, float* m) {
    const size_t in = p.s.group_in(), out = p.s.group_out();
    return {matrix<true>(v, in, tiles * in),
            matrix<flipped>(u, flipped ? in : out, in * out),
            {p.matrices() * out},
            gemm_index(tiles),
            gemm_index(out),
            gemm_index(in),
            m,
            nullptr,
            false};
}

// The last chunk's product may be cut into more splits than the others, as it has fewer tiles.
size_t splits_bytes(const WinogradPlan& p) {
    const auto of = [&](size_t images) {
        return product_workspace(Layer::kConvolution, images * p.image_tiles(), p.s.group_out(),
                                 p.s.group_in(), p.matrices());
    };
    const size_t rest = p.s.batch % p.chunk;
    return std::max(of(std::min(p.chunk, p.s.batch)), rest == 0 ? 0 : of(rest));
}

template <bool is_flipped>
void compute(const WinogradPlan& p, const float* x, const float* weight, const float* bias,
             bool relu, const float* relu_output, float* y, const WinogradMemory& memory,
             Stream stream) {
    const Conv2dShape& s = p.s;
    const size_t in = s.group_in(), out = s.group_out();
    const bool vectors = in % 4 == 0 && (is_flipped || out % 4 == 0);
    with_tile_size(p, [&](auto size) {
        using Tile = decltype(size);
        const dim3 block(kWarp, kTilesOfBlock);
        // As the weights lie: of a gradient, its outputs are their inputs.
        const size_t weight_in = is_flipped ? out : in, weight_out = is_flipped ? in : out;
        const dim3 grid(gemm_index(ceil_div(weight_in, kTilesOfBlock)),
                        gemm_index(ceil_div(weight_out * s.groups, kWarp)));
        launch("winograd_weights", weights_to_points<Tile>, grid, block, 0, stream, weight,
               gemm_index(weight_in), gemm_index(weight_out * s.groups), Divisor(weight_out),
               is_flipped, ElementMatrices{memory.u(), weight_out, in * out}, memory.marks(),
               gemm_index(s.batch));
        for_each_chunk(p, [&](size_t first, size_t images) {
            const Tiles tiles = tiles_of(p, images);
            const TiledImages<const float> input = input_of(p, x, first);
            uint32_t* marks = memory.marks() + first;
            reject_unlike(tiles, input, s.groups, p.points(), p.window, false, marks, stream);
            launch("winograd_input", tiles_to_points<Input<Tile::points>>,
                   tile_grid(tiles, s.in_channels), block, 0, stream, tiles, input,
                   ElementMatrices{memory.v(), in, tiles.count * in});
            run_product<Layer::kConvolution>(
                products<is_flipped>(p, tiles.count, memory.v(), memory.u(), memory.m()),
                p.matrices(), Precision::kFloat32, vectors, vectors, memory.splits(), stream);
            launch("winograd_output", points_to_tiles<FromPoints<Tile::outputs, Tile::points>>,
                   tile_grid(tiles, s.out_channels), block, 0, stream, tiles,
                   ElementMatrices{memory.m(), p.matrices() * out, out}, bias, relu,
                   relu_output ? output_of(p, relu_output, first).data : nullptr,
                   output_of(p, y, first), marks);
        });
    });
}

}  // namespace

size_t conv2d_winograd_workspace(const Conv2dShape& s, size_t most_floats) {
    const WinogradPlan p(s, most_floats);
    return WinogradMemory(p, 1, splits_bytes(p), conv2d_workspace(s)).bytes();
}

void conv2d_winograd(const Conv2dShape& s, size_t most_floats, const float* x, const float* weight,
                     const float* bias, bool relu, float* y, void* workspace, Stream stream) {
    if (s.batch == 0) return;
    const WinogradPlan p(s, most_floats);
    const WinogradMemory memory(p, 1, splits_bytes(p), conv2d_workspace(s), workspace);
    compute<false>(p, x, weight, bias, relu, nullptr, y, memory, stream);
    conv2d(s, x, weight, bias, relu, Precision::kFloat32, y, memory.direct(), stream,
           memory.marks());
}

size_t conv2d_winograd_backward_input_workspace(const Conv2dShape& s, size_t most_floats) {
    const WinogradPlan p(flipped(s), most_floats);
    return WinogradMemory(p, 1, splits_bytes(p), conv2d_backward_input_workspace(s)).bytes();
}

void conv2d_winograd_backward_input(const Conv2dShape& s, size_t most_floats, const float* dy,
                                    const float* weight, const float* relu_output, float* dx,
                                    void* workspace, Stream stream) {
    if (s.batch == 0) return;
    const WinogradPlan p(flipped(s), most_floats);
    const WinogradMemory memory(p, 1, splits_bytes(p), conv2d_backward_input_workspace(s),
                                workspace);
    compute<true>(p, dy, weight, nullptr, false, relu_output, dx, memory, stream);
    conv2d_backward_input(s, dy, weight, relu_output, Precision::kFloat32, dx, memory.direct(),
                          stream, memory.marks());
}

}  // namespace alexnet::cuda
