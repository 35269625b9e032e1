// Tiles of Hopper for float, multiplied in tf32 (hopper_tiles.cuh).

#include "hopper_tiles.cuh"

namespace alexnet::cuda {

template void launch_tiles(const HopperCut&, const HopperProduct<float>&, HopperOrder, Stream);

}  // namespace alexnet::cuda
