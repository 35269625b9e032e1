#include "alexnet/force_blocking.h"
#include "gemm_launch.cuh"

namespace alexnet::cuda {

void force_blocking(size_t rows, size_t columns, size_t splits) {
    forced_blocking() = {rows, columns, splits};
}

#ifndef ALEXNET_CUDA_HOPPER  // else in hopper_launch.cu
void force_hopper_cut(size_t, size_t, size_t, size_t) {}
std::vector<HopperChoice> hopper_choices() { return {}; }
#endif

}  // namespace alexnet::cuda
