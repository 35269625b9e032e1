// The kernels of hopper_gemm.cuh that there are for a type, and which one is launched for a cut: the
// tiles of hopper_launch.cu. Included by hopper_tiles_*.cu, one of each type.

#ifndef ALEXNET_CUDA_HOPPER_TILES_CUH_
#define ALEXNET_CUDA_HOPPER_TILES_CUH_

#include <algorithm>

#include "hopper_gemm.cuh"
#include "hopper_launch.cuh"

namespace alexnet::cuda {

template <class T, class Tile, bool a_along_depth, bool b_along_depth>
void launch_kernel(const HopperProduct<T>& p, Stream stream) {
    // As few clusters as are done no later: all have the same number of items.
    const size_t items = HopperItem::count<Tile>(p);
    const size_t most = std::max(size_t{1}, hopper_multiprocessors() / p.blocks);
    const size_t each = (items + most - 1) / most;
    const dim3 grid(static_cast<unsigned>((items + each - 1) / each) * p.blocks);
    launch_clusters("hopper_gemm", hopper_gemm<T, Tile, a_along_depth, b_along_depth>, p.blocks,
                    grid, dim3(Tile::kThreads), Tile::kSharedBytes, stream, p);
}

template <class T, uint32_t rows, uint32_t columns>
void launch_tile(const HopperProduct<T>& p, HopperOrder order, Stream stream) {
    using Tile = HopperTile<rows, columns>;
    if constexpr (std::is_same_v<T, float>) {  // B has been put along depths
        return order.a_along_depth ? launch_kernel<T, Tile, true, true>(p, stream)
                                   : launch_kernel<T, Tile, false, true>(p, stream);
    } else {  // forward, gradient of the input, gradient of the weight
        if (!order.a_along_depth) return launch_kernel<T, Tile, false, false>(p, stream);
        return order.b_along_depth ? launch_kernel<T, Tile, true, true>(p, stream)
                                   : launch_kernel<T, Tile, true, false>(p, stream);
    }
}

template <class T>
void launch_tiles(const HopperCut& cut, const HopperProduct<T>& p, HopperOrder order,
                  Stream stream) {
    const auto is = [&](size_t rows, size_t columns) {
        return cut.rows == rows && cut.columns == columns;
    };
    if constexpr (std::is_same_v<T, float>) {
        if (is(128, 32)) return launch_tile<T, 128, 32>(p, order, stream);
        if (is(128, 192)) return launch_tile<T, 128, 192>(p, order, stream);
    }
    if (is(128, 64)) return launch_tile<T, 128, 64>(p, order, stream);
    if (is(192, 64)) return launch_tile<T, 192, 64>(p, order, stream);
    if (is(128, 128)) return launch_tile<T, 128, 128>(p, order, stream);
    if (is(192, 192)) return launch_tile<T, 192, 192>(p, order, stream);
    launch_tile<T, 128, 256>(p, order, stream);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_TILES_CUH_
