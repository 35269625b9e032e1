// Tiles of Hopper for bfloat16 (hopper_tiles.cuh).

#include "hopper_tiles.cuh"

namespace alexnet::cuda {

template void launch_tiles(const HopperCut&, const HopperProduct<Bfloat16>&, HopperOrder, Stream);

}  // namespace alexnet::cuda
