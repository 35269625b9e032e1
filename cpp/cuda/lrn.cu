// LRN across channels, and its gradient.
//   s[p,c] = bias + alpha · Σ x[p,c']²,  |c'-c| <= radius        y = x · s^-beta
//   dx[p,c] = direct[p,c] - 2·alpha·beta · x[p,c] · Σ cross_term[p,c'],  |c'-c| <= radius
//       with direct = dy·s^-beta and cross_term = dy·x·s^(-beta-1)
// Shapes: all arrays (pixels, channels) f32, contiguous. In place is not allowed.
// Kept for backward: nothing; s is computed from x again.
//
// Blocks: each owns a tile of neighbouring pixels, all channels of them, and keeps in shared memory
//   what has neighbours: squares, and backward also cross_term, and direct until its use. Each
//   array passes global memory once.
// Threads: threadIdx.x runs over channels, threadIdx.y over the tile's pixels; a warp reads and
//   writes 128 neighbouring bytes, and in shared memory one bank a lane.
// Cost: about 4·radius + 30 instructions an element forward and twice that backward, against 8 and
//   12 bytes: at radius 4 or 5 memory-bound forward, about even backward on H100.
// Numerics: windows are summed anew for every channel, in ascending order. beta 0.75 and 0.5 take
//   s^-1/2 from rsqrtf (2 ulp), any other beta powf. Nothing depends on the tiles.

#include "alexnet/lrn.h"
#include "device.cuh"
#include "launch.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kTile = 2048;  // floats of x a block, where a pixel has no more

struct ThreeQuarters {
    static __device__ float of(float s, float) {
        const float root = rsqrtf(s);
        return root * sqrtf(root);
    }
};

struct Half {
    static __device__ float of(float s, float) { return rsqrtf(s); }
};

struct Any {
    static __device__ float of(float s, float beta) { return powf(s, -beta); }
};

// body(index of the element in the tile, its channel) for each of the thread's elements.
template <class Body>
__device__ void for_elements(int rows, int channels, const Body& body) {
    for (int row = threadIdx.y; row < rows; row += blockDim.y) {
        for (int c = threadIdx.x; c < channels; c += blockDim.x) body(row * channels + c, c);
    }
}

// Σ of the window around channel c, of which `middle` is the element.
__device__ float window_sum(const float* middle, int c, int channels, int radius) {
    const int first = max(-radius, -c), last = min(radius, channels - 1 - c);
    float sum = 0;
    for (int j = first; j <= last; ++j) sum += middle[j];
    return sum;
}

template <class Power>
__global__ void forward(size_t pixels, int tile_rows, int channels, int radius, LrnParameters k,
                        const float* x, float* y) {
    float* squares = dynamic_shared<float>();
    const size_t first = size_t{blockIdx.x} * tile_rows;
    const int rows = static_cast<int>(min(size_t(tile_rows), pixels - first));
    x += first * channels;
    y += first * channels;
    for_elements(rows, channels, [&](int i, int) { squares[i] = x[i] * x[i]; });
    __syncthreads();
    for_elements(rows, channels, [&](int i, int c) {
        const float s = fmaf(k.alpha, window_sum(squares + i, c, channels, radius), k.bias);
        y[i] = x[i] * Power::of(s, k.beta);
    });
}

template <class Power>
__global__ void backward(size_t pixels, int tile_rows, int channels, int radius, LrnParameters k,
                         const float* dy, const float* x, bool through_relu, float* dx) {
    float* squares = dynamic_shared<float>();
    float* cross_term = squares + tile_rows * channels;
    float* direct = cross_term + tile_rows * channels;
    const size_t first = size_t{blockIdx.x} * tile_rows;
    const int rows = static_cast<int>(min(size_t(tile_rows), pixels - first));
    dy += first * channels;
    x += first * channels;
    dx += first * channels;
    for_elements(rows, channels, [&](int i, int) { squares[i] = x[i] * x[i]; });
    __syncthreads();
    for_elements(rows, channels, [&](int i, int c) {
        const float s = fmaf(k.alpha, window_sum(squares + i, c, channels, radius), k.bias);
        // x/s as x·s^-1/2·s^-1/2: s^(-beta-1) by itself would underflow much earlier.
        const float root = rsqrtf(s);
        direct[i] = dy[i] * Power::of(s, k.beta);
        cross_term[i] = direct[i] * (x[i] * root * root);
    });
    __syncthreads();
    const float factor = 2 * k.alpha * k.beta;
    for_elements(rows, channels, [&](int i, int c) {
        const float sum = factor * window_sum(cross_term + i, c, channels, radius);
        const float gradient = fmaf(-x[i], sum, direct[i]);
        dx[i] = !through_relu || x[i] > 0 ? gradient : 0.0f;
    });
}

// Tiles, and threads for them, with `arrays` arrays of a tile in shared memory.
struct Plan {
    int tile_rows;
    unsigned blocks;
    dim3 block;
    size_t shared_bytes;

    Plan(size_t pixels, size_t channels, size_t arrays)
        : tile_rows(static_cast<int>(std::max<size_t>(kTile / channels, 1))),
          blocks(static_cast<unsigned>((pixels + tile_rows - 1) / tile_rows)),
          block(channel_block(channels)),
          shared_bytes(arrays * tile_rows * channels * sizeof(float)) {}
};

int clamped_radius(const LrnParameters& k, size_t channels) {
    return static_cast<int>(std::min(k.depth_radius, channels - 1));
}

}  // namespace

void lrn(size_t pixels, size_t channels, const LrnParameters& k, const float* x, float* y,
         Stream stream) {
    const Plan plan(pixels, channels, 1);
    const auto kernel = k.beta == 0.75f  ? forward<ThreeQuarters>
                        : k.beta == 0.5f ? forward<Half>
                                         : forward<Any>;
    launch("lrn", kernel, plan.blocks, plan.block, plan.shared_bytes, stream, pixels,
           plan.tile_rows, channels, clamped_radius(k, channels), k, x, y);
}

void lrn_backward(size_t pixels, size_t channels, const LrnParameters& k, const float* dy,
                  const float* x, bool through_relu, float* dx, Stream stream) {
    const Plan plan(pixels, channels, 3);
    const auto kernel = k.beta == 0.75f  ? backward<ThreeQuarters>
                        : k.beta == 0.5f ? backward<Half>
                                         : backward<Any>;
    launch("lrn_backward", kernel, plan.blocks, plan.block, plan.shared_bytes, stream, pixels,
           plan.tile_rows, channels, clamped_radius(k, channels), k, dy, x, through_relu, dx);
}

}  // namespace alexnet::cuda
