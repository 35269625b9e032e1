// Products of Hopper from the host: how they are cut, and what is launched for one.
//
//   hopper_prepare   B of float, rounded and in rows of depths, into the workspace; where B is dy, the
//                    sums over its depths before they are rounded, the gradient of a bias, as well
//   hopper_gemm      the tiles; with splits, their sums into the workspace
//   hopper_sum       the sums of splits, added in order
//
// Tiles and splits are those for which the slowest part of an H100 is done soonest: tensor cores,
// shared memory, L2, at the rates that an H200 was measured at, and then the epilogue of a tile, which
// nothing hides, and the sums of splits. Clusters of two
// blocks, which halve what B takes of L2, are there only where that is sooner: not where L2 does not
// bind, nor where a last tile without rows takes what they gain. All depends on the shape and on
// whether elements have 16 bits.

#ifndef ALEXNET_CUDA_HOPPER_LAUNCH_CUH_
#define ALEXNET_CUDA_HOPPER_LAUNCH_CUH_

#include <functional>

#include "hopper_product.cuh"
#include "hopper_tensor_map.cuh"

namespace alexnet::cuda {

// B as the caller has it: row j, depth k under a tap.
template <class T>
struct HopperSource {
    const T* data;
    ptrdiff_t row_step, depth_step, tap_step;  // elements
    uint32_t rows, depths, taps;
    bool pairs;  // float: the even ones of eight depths come first, as load_a takes them

    size_t tap_steps() const { return (depths + kStepDepth<T> - 1) / kStepDepth<T>; }
    size_t steps() const { return taps * tap_steps(); }
    size_t prepared_bytes() const {  // of 16 bits nothing is
        return std::is_same_v<T, float> ? rows * steps() * kRowBytes : 0;
    }
};

struct HopperCut {
    size_t rows, columns, splits, split_steps;
    size_t blocks;  // of a cluster
};

// Which operands have neighbours along the depth.
struct HopperOrder {
    bool a_along_depth, b_along_depth;
};

template <class T>
HopperCut hopper_cut(size_t m, size_t n, size_t steps);

// The tiles alone (hopper_tiles.cuh).
template <class T>
void launch_tiles(const HopperCut& cut, const HopperProduct<T>& p, HopperOrder order,
                  Stream stream);

// Whether kernels of sm_90a run on the current device: compute capability 9.0, nothing newer.
bool hopper_is_here();

// For hopper_choices: a product over lines (hopper_lines.cuh) was launched.
void note_hopper_lines();

// Bytes of workspace for a product of m rows of A whose C has `size` elements.
template <class T>
size_t hopper_workspace(size_t m, const HopperSource<T>& b, size_t size, bool depth_sums = false);

// Add up the sums of splits in order, of a C of `lines` of `neighbours`, and store them.
template <class T>
void add_hopper_splits(const HopperProduct<T>& p, size_t lines, size_t neighbours, Stream stream);

// What is not in HopperProduct, or not yet.
template <class T>
struct HopperTask {
    HopperProduct<T> p;  // all but a, b, steps, taps, splits and sums
    HopperSource<T> b;
    float* depth_sums;  // of b's rows, which are neighbours under one tap; float alone; null: none
    bool a_along_depth;
    std::function<CUtensorMap(size_t rows)> map_a;  // for tiles of so many rows
    size_t lines, neighbours;                       // of C as it lies in memory
};

template <class T>
void run_hopper(HopperTask<T> task, void* workspace, Stream stream);

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_LAUNCH_CUH_
