// LRN and its gradient for any channels, radius and beta; lrn.cu has the formulas, and the kernels
// for what networks mostly have.
//
// Blocks: each owns a tile of neighbouring pixels, all channels of them, and keeps in shared memory
//   what has neighbours: squares, and backward also cross_term, and direct until its use. Each
//   array passes global memory once.
// Threads: threadIdx.x runs over channels, threadIdx.y over the tile's pixels; a warp reads and
//   writes neighbouring elements, and in shared memory one bank a lane.
// Cost: about 8·radius + 30 instructions an element forward and twice that backward, and one and
//   two barriers a tile.
// Numerics: as in lrn.cu, windows in the same order; beta 0.5 takes s^-1/2 from rsqrtf, any other
//   than that and 0.75 powf, as any does of a negative alpha. Nothing depends on the tiles.

#include "lrn.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kTile = 2048;  // elements of x a block, where a pixel has no more

// body(index of the element in the tile, its channel) for each of the thread's elements.
template <class Body>
__device__ void for_elements(int rows, int channels, const Body& body) {
    for (int row = threadIdx.y; row < rows; row += blockDim.y) {
        for (int c = threadIdx.x; c < channels; c += blockDim.x) body(row * channels + c, c);
    }
}

// Σ of the window around channel c, of which `middle` is the element: eight neighbours at a time
// from the left, pairs first, then four, two and one of those that are left. What is beyond the
// channels counts as 0.
__device__ float window_sum(const float* middle, int c, int channels, int radius) {
    const auto one = [&](int j) { return 0 <= c + j && c + j < channels ? middle[j] : 0.0f; };
    const auto two = [&](int j) { return one(j) + one(j + 1); };
    const auto four = [&](int j) { return two(j) + two(j + 2); };
    const int end = radius + 1;
    int j = -radius;
    if (j + 8 <= -c) j += (-c - j) / 8 * 8;  // nothing but zeros
    float sum = 0;
    for (; j + 8 <= end && c + j < channels; j += 8) sum += four(j) + four(j + 4);
    if (c + j >= channels) return sum;
    const int left = end - j;
    if (left & 4) {
        sum += four(j);
        j += 4;
    }
    if (left & 2) {
        sum += two(j);
        j += 2;
    }
    return left & 1 ? sum + one(j) : sum;
}

template <class T, class Power>
__global__ void forward(size_t pixels, int tile_rows, int channels, int radius, LrnParameters k,
                        const T* x, T* y) {
    float* squares = dynamic_shared<float>();
    const size_t first = size_t{blockIdx.x} * tile_rows;
    const int rows = static_cast<int>(min(size_t(tile_rows), pixels - first));
    x += first * channels;
    y += first * channels;
    for_elements(rows, channels, [&](int i, int) {
        const float value = to_float(x[i]);
        squares[i] = value * value;
    });
    __syncthreads();
    for_elements(rows, channels, [&](int i, int c) {
        const float s = fmaf(k.alpha, window_sum(squares + i, c, channels, radius), k.bias);
        y[i] = from_float<T>(to_float(x[i]) * Power::of(s, k.beta));
    });
}

template <class T, class Power>
__global__ void backward(size_t pixels, int tile_rows, int channels, int radius, LrnParameters k,
                         const T* dy, const T* x, bool through_relu, T* dx) {
    float* squares = dynamic_shared<float>();
    float* cross_term = squares + tile_rows * channels;
    float* direct = cross_term + tile_rows * channels;
    const size_t first = size_t{blockIdx.x} * tile_rows;
    const int rows = static_cast<int>(min(size_t(tile_rows), pixels - first));
    dy += first * channels;
    x += first * channels;
    dx += first * channels;
    for_elements(rows, channels, [&](int i, int) {
        const float value = to_float(x[i]);
        squares[i] = value * value;
    });
    __syncthreads();
    for_elements(rows, channels, [&](int i, int c) {
        const float s = fmaf(k.alpha, window_sum(squares + i, c, channels, radius), k.bias);
        const LrnTerms terms = lrn_terms<Power>(to_float(dy[i]), to_float(x[i]), s, k.beta);
        direct[i] = terms.direct;
        cross_term[i] = terms.cross_term;
    });
    __syncthreads();
    const float factor = 2 * k.alpha * k.beta;
    for_elements(rows, channels, [&](int i, int c) {
        const float sum = factor * window_sum(cross_term + i, c, channels, radius);
        const float value = to_float(x[i]);
        const float gradient = fmaf(-value, sum, direct[i]);
        dx[i] = from_float<T>(!through_relu || value > 0 ? gradient : 0.0f);
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

// All channels are in larger windows, too. Those that lrn.cu has stay as they are, with the order of
// their sums.
int clamped_radius(const LrnParameters& k, size_t channels) {
    constexpr size_t kInRegisters = 5;
    return static_cast<int>(std::min(k.depth_radius, std::max(channels - 1, kInRegisters)));
}

}  // namespace

template <class T>
void lrn_in_shared_memory(size_t pixels, size_t channels, const LrnParameters& k, const T* x, T* y,
                          Stream stream) {
    const Plan plan(pixels, channels, 1);
    const bool has_root = k.alpha >= 0;  // s is positive, infinite or NaN
    const auto kernel = has_root && k.beta == 0.75f  ? forward<T, ThreeQuarters<AnyRoot>>
                        : has_root && k.beta == 0.5f ? forward<T, Half>
                                                     : forward<T, Any>;
    launch("lrn", kernel, plan.blocks, plan.block, plan.shared_bytes, stream, pixels,
           plan.tile_rows, channels, clamped_radius(k, channels), k, x, y);
}

template <class T>
void lrn_backward_in_shared_memory(size_t pixels, size_t channels, const LrnParameters& k,
                                   const T* dy, const T* x, bool through_relu, T* dx,
                                   Stream stream) {
    const Plan plan(pixels, channels, 3);
    const bool has_root = k.alpha >= 0;  // s is positive, infinite or NaN
    const auto kernel = has_root && k.beta == 0.75f  ? backward<T, ThreeQuarters<AnyRoot>>
                        : has_root && k.beta == 0.5f ? backward<T, Half>
                                                     : backward<T, Any>;
    launch("lrn_backward", kernel, plan.blocks, plan.block, plan.shared_bytes, stream, pixels,
           plan.tile_rows, channels, clamped_radius(k, channels), k, dy, x, through_relu, dx);
}

#define ALEXNET_INSTANTIATE(T)                                                                  \
    template void lrn_in_shared_memory(size_t, size_t, const LrnParameters&, const T*, T*,      \
                                       Stream);                                                 \
    template void lrn_backward_in_shared_memory(size_t, size_t, const LrnParameters&, const T*, \
                                                const T*, bool, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
