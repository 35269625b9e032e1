// Gradients of a convolution with respect to weight and bias by Winograd's algorithm
// (conv2d_winograd.cu).
//
//   V = Bᵀ · d · B   dM = A · dY · Aᵀ   dU = Vᵀ · dM at each tile element   dg = Gᵀ · dU · G
//
// Each step is a kernel; the products sum over the tiles. Where V and dM of all images are too much
// memory, each chunk of them has its own dU, and the last kernel adds these in order.
//
// Cost: as forward, and dU of each chunk. The gradient of the bias is a sum over dy (column_sums.cu).
// Numerics: as forward; tiles are summed as depths of tile_gemm.cuh. A gradient sums over all images,
//   so where the guard rejects one, or dweight is not finite, it is computed again as a whole.

#include "winograd_memory.cuh"

namespace alexnet::cuda {
namespace {

__global__ void clear_mark(uint32_t* mark) { *mark = 0; }

// dweight, HWIO, of dU, the sum over `chunks` matrices that are `chunk_floats` apart. A thread owns
// one pair of channels.
template <class Size>
__global__ void __launch_bounds__(kWarp* kTilesOfBlock)
    points_to_weights(const ElementMatrices du, uint32_t chunks, size_t chunk_floats, uint32_t in,
                      uint32_t out, Divisor group_out, float* dweight, uint32_t* mark) {
    constexpr int kTaps = Size::window, kPoints = Size::points;
    const uint32_t o = blockIdx.y * kWarp + threadIdx.x;
    const uint32_t c = blockIdx.x * kTilesOfBlock + threadIdx.y;
    if (o >= out || c >= in) return;
    const uint32_t group = group_out.quotient(o);
    const float* source = du.at(group, kPoints * kPoints, c, o - group * group_out.value());
    bool finite = true;
    transform_tile<FromPoints<kTaps, kPoints>>(
        [&](int i, int j) {
            const float* element = source + (i * kPoints + j) * du.element;
            float sum = element[0];
#pragma unroll 1
            for (uint32_t k = 1; k < chunks; ++k) sum += element[k * chunk_floats];
            return sum;
        },
        [&](int i, int j, float value) {
            finite = finite && isfinite(value);
            dweight[(size_t{static_cast<unsigned>(i * kTaps + j)} * in + c) * out + o] = value;
        });
    if (!finite) *mark = 1;
}

size_t splits_bytes(const WinogradPlan& p) {
    return product_workspace(Layer::kConvolution, p.s.group_in(), p.s.group_out(),
                             p.chunk * p.image_tiles(), p.matrices());
}

WinogradMemory memory_of(const WinogradPlan& p, void* workspace = nullptr) {
    return WinogradMemory(p, p.chunks(), splits_bytes(p), conv2d_backward_weight_workspace(p.s),
                          workspace);
}

}  // namespace

size_t conv2d_winograd_backward_weight_workspace(const Conv2dShape& s, size_t most_floats) {
    return memory_of(WinogradPlan(s, most_floats)).bytes();
}

void conv2d_winograd_backward_weight(const Conv2dShape& s, size_t most_floats, const float* dy,
                                     const float* x, float* dweight, float* dbias, void* workspace,
                                     Stream stream) {
    const WinogradPlan p(s, most_floats);
    const WinogradMemory memory = memory_of(p, workspace);
    if (s.batch == 0) {
        conv2d_backward_weight(s, dy, x, Precision::kFloat32, dweight, dbias, workspace, stream);
        return;
    }
    const size_t in = s.group_in(), out = s.group_out();
    const bool vectors = in % 4 == 0 && out % 4 == 0;
    uint32_t* mark = memory.marks();
    launch("winograd_mark", clear_mark, dim3(1), dim3(1), 0, stream, mark);
    with_tile_size(p, [&](auto size) {
        using Tile = decltype(size);
        const dim3 block(kWarp, kTilesOfBlock);
        float* du = memory.u();
        for_each_chunk(p, [&](size_t first, size_t images) {
            const Tiles tiles = tiles_of(p, images);
            const auto input = input_of(p, x, first);
            const auto gradient = output_of(p, dy, first);
            reject_unlike(tiles, input, s.groups, p.points(), p.window, true, mark, stream);
            reject_unlike(tiles, gradient, s.groups, p.outputs, (p.outputs + 1) / 2, true, mark,
                          stream);
            launch("winograd_input", tiles_to_points<Input<Tile::points>>,
                   tile_grid(tiles, s.in_channels), block, 0, stream, tiles, input,
                   ElementMatrices{memory.v(), in, tiles.count * in});
            launch("winograd_gradient", tiles_to_points<ToPoints<Tile::points, Tile::outputs>>,
                   tile_grid(tiles, s.out_channels), block, 0, stream, tiles, gradient,
                   ElementMatrices{memory.m(), out, tiles.count * out});
            const Product<MatrixOperand<false>, MatrixOperand<false>, MatrixRows> product{
                matrix<false>(memory.v(), in, tiles.count * in),
                matrix<false>(memory.m(), out, tiles.count * out),
                {p.matrices() * out},
                gemm_index(in),
                gemm_index(out),
                tiles.count,
                du,
                nullptr,
                false};
            run_product<Layer::kConvolution>(product, p.matrices(), Precision::kFloat32, vectors,
                                             vectors, memory.splits(), stream);
            du += p.u_floats();
        });
        const dim3 grid(gemm_index(ceil_div(in, kTilesOfBlock)),
                        gemm_index(ceil_div(s.out_channels, kWarp)));
        launch("winograd_weights", points_to_weights<Tile>, grid, block, 0, stream,
               ElementMatrices{memory.u(), p.matrices() * out, out}, gemm_index(p.chunks()),
               p.u_floats(), gemm_index(in), gemm_index(s.out_channels), Divisor(out), dweight,
               mark);
    });
    conv2d_backward_weight(s, dy, x, Precision::kFloat32, dweight, dbias, memory.direct(), stream,
                           mark);
}

}  // namespace alexnet::cuda
