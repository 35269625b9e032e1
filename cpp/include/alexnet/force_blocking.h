// For measurements: products with other tiles and splits than the launchers choose.

#ifndef ALEXNET_FORCE_BLOCKING_H_
#define ALEXNET_FORCE_BLOCKING_H_

#include <cstddef>
#include <vector>

namespace alexnet::cuda {

// From now on, products that this thread launches have tiles of `rows` by `columns`, where there
// are such ones, and so many splits of their depth, where it is deep enough. 0 for all three: as the
// launchers choose. Results differ in their last bits.
void force_blocking(size_t rows, size_t columns, size_t splits);

// The same for the products of Hopper, in clusters of 1 or 2 blocks: where a product can be cut so.
void force_hopper_cut(size_t rows, size_t columns, size_t blocks, size_t splits);

// What can be forced for the last product of Hopper that this thread has launched, and the cycles
// that the launcher expects of it; nothing where it has launched none since it asked. A first layer's,
// over lines of the image, has one cut, of 0 rows and columns.
struct HopperChoice {
    size_t rows, columns, blocks, splits, cycles;
};
std::vector<HopperChoice> hopper_choices();

}  // namespace alexnet::cuda

#endif  // ALEXNET_FORCE_BLOCKING_H_
