// Products of Hopper from the host: how they are cut, and what is launched for one.
//
//   hopper_prepare   B, rounded and in rows of depths, into the workspace
//   hopper_gemm      the tiles; with splits, their sums into the workspace
//   hopper_sum       the sums of splits, added in order
//
// Tiles and splits are those for which the slowest part of an H100 is done soonest: tensor cores,
// shared memory, L2 (hopper_gemm.cuh has the figures), sums at the rate of memory. They depend on the shape alone.

#ifndef ALEXNET_CUDA_HOPPER_LAUNCH_CUH_
#define ALEXNET_CUDA_HOPPER_LAUNCH_CUH_

#include <functional>

#include "hopper_gemm.cuh"
#include "hopper_tensor_map.cuh"

namespace alexnet::cuda {

// Elements of B, before it is prepared: row j, depth k under a tap.
struct HopperSource {
    const float* data;
    ptrdiff_t row_step, depth_step, tap_step;  // floats
    uint32_t rows, depths, taps;
    bool pairs;  // the even ones of eight depths come first, as load_a takes them

    size_t steps() const { return size_t{taps} * ((depths + kStepDepth - 1) / kStepDepth); }
    size_t prepared_size() const { return rows * steps() * kStepDepth; }
};

struct HopperCut {
    size_t rows, columns, splits, split_steps;
};

HopperCut hopper_cut(size_t m, size_t n, size_t steps);

// Whether kernels of sm_90a run on the current device: compute capability 9.0, nothing newer.
bool hopper_is_here();

// Bytes of workspace for a product whose C has `size` elements.
size_t hopper_workspace(const HopperCut& cut, const HopperSource& b, size_t size);

// What is not in HopperProduct, or not yet.
struct HopperTask {
    HopperProduct p;  // all but a, b, splits, split_steps and split_size
    HopperSource b;
    bool depth_contiguous;                          // in A
    std::function<CUtensorMap(size_t rows)> map_a;  // for tiles of so many rows
    size_t lines, neighbours;                       // of C as it lies in memory
};

void run_hopper(HopperTask task, void* workspace, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_LAUNCH_CUH_
