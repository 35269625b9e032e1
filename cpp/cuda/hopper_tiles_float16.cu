// Tiles of Hopper for float16 (hopper_tiles.cuh).

#include "hopper_tiles.cuh"

namespace alexnet::cuda {

template void launch_tiles(const HopperCut&, const HopperProduct<Float16>&, HopperOrder, Stream);

}  // namespace alexnet::cuda
