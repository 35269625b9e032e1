// The guard, as on the CPU (cpp/cpu/winograd_guard.h): transforms subtract values of a whole tile
// from one another, so their error is relative to the largest that the tile sees. An image with a
// window that has less than 1/1024 of the largest in its tile, unless the window is all 0, or with a
// result that is not finite, is marked as rejected, and computed again by the direct algorithm. That
// is always launched, and its blocks end at once where no image of theirs is marked: nothing waits
// for the host.
//
// Cost: each pixel of each tile once from L2, its channels by a warp; then the maximum of each window.

#include "gemm_launch.cuh"
#include "winograd_guard.cuh"

namespace alexnet::cuda {
namespace {

constexpr float kLeastShare = 1.0f / 1024;
constexpr int kGuardWarps = 8;

// The largest of the lanes' values, in every lane.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
    }
    return value;
}

// Blocks: a tile and a group of channels each; warps own pixels, then one of them the windows.
__global__ void __launch_bounds__(kWarp* kGuardWarps)
    find_unlike(const Tiles tiles, const TiledImages<const float> x, int size, int window,
                bool together, uint32_t* marks) {
    float* largest = dynamic_shared<float>();  // (size, size)
    const Tiles::Tile tile = tiles.tile(blockIdx.x);
    const uint32_t channels = x.group_channels.value();
    for (int p = threadIdx.y; p < size * size; p += kGuardWarps) {
        const float* pixel = x.pixel(tile, p / size, p % size);
        float most = 0;
        for (uint32_t c = threadIdx.x; pixel && c < channels; c += kWarp) {
            most = fmaxf(most, fabsf(pixel[blockIdx.y * channels + c]));
        }
        most = warp_max(most);
        if (threadIdx.x == 0) largest[p] = most;
    }
    __syncthreads();
    if (threadIdx.y > 0) return;
    float most = 0;
    for (int p = threadIdx.x; p < size * size; p += kWarp) most = fmaxf(most, largest[p]);
    most = warp_max(most);
    const int windows = size - window + 1;
    for (int w = threadIdx.x; w < windows * windows; w += kWarp) {
        float seen = 0;
        for (int i = 0; i < window; ++i) {
            for (int j = 0; j < window; ++j) {
                seen = fmaxf(seen, largest[(w / windows + i) * size + w % windows + j]);
            }
        }
        if (seen > 0 && seen < kLeastShare * most) marks[together ? 0 : tile.image] = 1;
    }
}

}  // namespace

void reject_unlike(const Tiles& tiles, const TiledImages<const float>& x, size_t groups,
                   size_t size, size_t window, bool together, uint32_t* marks, Stream stream) {
    launch("winograd_guard", find_unlike, dim3(tiles.count, gemm_index(groups)),
           dim3(kWarp, kGuardWarps), size * size * sizeof(float), stream, tiles, x,
           static_cast<int>(size), static_cast<int>(window), together, marks);
}

}  // namespace alexnet::cuda
