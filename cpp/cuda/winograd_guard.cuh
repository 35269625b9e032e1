// Which images Winograd's algorithm must not compute; winograd_guard.cu says how they are found.

#ifndef ALEXNET_CUDA_WINOGRAD_GUARD_CUH_
#define ALEXNET_CUDA_WINOGRAD_GUARD_CUH_

#include "alexnet/cuda_stream.h"
#include "winograd_tiles.cuh"

namespace alexnet::cuda {

// Mark, by 1, images with a tile of `size` × `size` pixels one of whose windows has not its share of
// the tile's largest magnitude. Where all images are one sum, `together`, they share one mark.
void reject_unlike(const Tiles& tiles, const TiledImages<const float>& x, size_t groups,
                   size_t size, size_t window, bool together, uint32_t* marks, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_WINOGRAD_GUARD_CUH_
