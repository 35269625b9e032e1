// For measurements: products with other tiles and splits than the launchers choose.

#ifndef ALEXNET_FORCE_BLOCKING_H_
#define ALEXNET_FORCE_BLOCKING_H_

#include <cstddef>

namespace alexnet::cuda {

// From now on, products that this thread launches have tiles of `rows` by `columns`, where there
// are such ones, and so many splits of their depth, where it is deep enough. 0 for all three: as the
// launchers choose. Results differ in their last bits.
void force_blocking(size_t rows, size_t columns, size_t splits);

}  // namespace alexnet::cuda

#endif  // ALEXNET_FORCE_BLOCKING_H_
