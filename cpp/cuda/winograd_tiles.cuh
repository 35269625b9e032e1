// The kernels of Winograd's algorithm that take tiles of images to matrices and back.
//
// A transformed tile has one value a channel at each tile element e = i · points + j. All values at
// one element are a matrix, of a group of channels, so that the convolution is a matrix product for
// each element, M = V · U (conv2d_winograd.cu).
//
// Threads: a warp owns 32 channels of one tile, a thread one of them. Reads and writes are of 128
//   neighbouring bytes.  Cost: see winograd_transform.cuh; what is read and written, once.

#ifndef ALEXNET_CUDA_WINOGRAD_TILES_CUH_
#define ALEXNET_CUDA_WINOGRAD_TILES_CUH_

#include "gemm_operands.cuh"
#include "winograd_transform.cuh"

namespace alexnet::cuda {

constexpr int kTilesOfBlock = 4;  // to a warp each

// The tiles of some images.
struct Tiles {
    struct Tile {
        uint32_t image;
        int32_t h, w;  // of its first output
    };

    Divisor down, across;  // of an image
    uint32_t count;
    int32_t outputs;  // of a tile along an axis

    __device__ Tile tile(uint32_t index) const {
        const uint32_t row = across.quotient(index), image = down.quotient(row);
        const auto i = static_cast<int32_t>(row - image * down.value());
        const auto j = static_cast<int32_t>(index - row * across.value());
        return {image, i * outputs, j * outputs};
    }
};

// NHWC images, and where the first tile of each begins.
template <typename Float>
struct TiledImages {
    Float* data;
    int32_t height, width;
    uint32_t channels;
    int32_t top, left;
    Divisor group_channels;

    // The first channel of pixel (i, j) of a tile; null outside of the image.
    __device__ Float* pixel(const Tiles::Tile& tile, int i, int j) const {
        const int32_t h = tile.h + top + i, w = tile.w + left + j;
        const bool inside = static_cast<uint32_t>(h) < static_cast<uint32_t>(height) &&
                            static_cast<uint32_t>(w) < static_cast<uint32_t>(width);
        const size_t line = size_t{tile.image} * height + h;
        return inside ? data + (line * width + w) * channels : nullptr;
    }
};

// One matrix for each group and tile element: (tiles, channels of a group), or (in, out) of a
// group's weights.
struct ElementMatrices {
    float* data;
    size_t row, element;  // floats from row to row, and from matrix to matrix

    // Of row `row` and a channel, at element 0 of a group.
    __device__ float* at(uint32_t group, int elements, size_t index, uint32_t channel) const {
        return data + size_t{group} * elements * element + index * row + channel;
    }
};

// V of x, or dM of dy.
template <class M>
__global__ void __launch_bounds__(kWarp* kTilesOfBlock)
    tiles_to_points(const Tiles tiles, const TiledImages<const float> x, const ElementMatrices v) {
    const uint32_t index = blockIdx.x * kTilesOfBlock + threadIdx.y;
    const uint32_t channel = blockIdx.y * kWarp + threadIdx.x;
    if (index >= tiles.count || channel >= x.channels) return;
    const uint32_t group = x.group_channels.quotient(channel);
    float* target =
        v.at(group, M::kRows * M::kRows, index, channel - group * x.group_channels.value());
    const Tiles::Tile tile = tiles.tile(index);
    transform_tile<M>(
        [&](int i, int j) {
            const float* pixel = x.pixel(tile, i, j);
            return pixel ? pixel[channel] : 0.0f;
        },
        [&](int i, int j, float value) { target[(i * M::kRows + j) * v.element] = value; });
}

// y of M, with bias, which may be null, and ReLU. As a gradient, where `relu_output`, which lies as y
// does, is not null, it goes on through that ReLU: 0 where it is not positive. Marks images with
// results that are not finite.
template <class M>
__global__ void __launch_bounds__(kWarp* kTilesOfBlock)
    points_to_tiles(const Tiles tiles, const ElementMatrices m, const float* bias, bool relu,
                    const float* relu_output, const TiledImages<float> y, uint32_t* rejected) {
    const uint32_t index = blockIdx.x * kTilesOfBlock + threadIdx.y;
    const uint32_t channel = blockIdx.y * kWarp + threadIdx.x;
    if (index >= tiles.count || channel >= y.channels) return;
    const uint32_t group = y.group_channels.quotient(channel);
    const float* source =
        m.at(group, M::kColumns * M::kColumns, index, channel - group * y.group_channels.value());
    const Tiles::Tile tile = tiles.tile(index);
    const float added = bias ? bias[channel] : 0.0f;
    bool finite = true;
    transform_tile<M>([&](int i, int j) { return source[(i * M::kColumns + j) * m.element]; },
                      [&](int i, int j, float value) {
                          float* pixel = y.pixel(tile, i, j);
                          if (!pixel) return;
                          value += added;
                          finite = finite && isfinite(value);
                          if (relu_output && !(relu_output[pixel - y.data + channel] > 0)) {
                              value = 0;
                          }
                          pixel[channel] = relu && value < 0.0f ? 0.0f : value;
                      });
    if (!finite) rejected[tile.image] = 1;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_WINOGRAD_TILES_CUH_
