// The workspace of Winograd's algorithm, and launches that forward and both gradients share.
//
//   marks    one a image, of those that are left to the direct algorithm
//   V        (groups, elements, tiles of a chunk, in)
//   M        (tiles of a chunk, groups, elements, out), or dM, as V
//   U        (groups, elements, in, out), or dU of each chunk, (in, groups, elements, out)
//   splits   of the products
//
// The direct algorithm's workspace takes the place of all but the marks.

#ifndef ALEXNET_CUDA_WINOGRAD_MEMORY_CUH_
#define ALEXNET_CUDA_WINOGRAD_MEMORY_CUH_

#include "gemm_launch.cuh"
#include "winograd_guard.cuh"
#include "winograd_plan.cuh"

namespace alexnet::cuda {

class WinogradMemory {
  public:
    // `u_copies`: of U; `splits`: bytes.
    WinogradMemory(const WinogradPlan& p, size_t u_copies, size_t splits, size_t direct,
                   void* workspace = nullptr)
        : begin_(static_cast<char*>(workspace)),
          v_(aligned(p.s.batch * sizeof(uint32_t))),
          m_(v_ + aligned(p.v_floats() * sizeof(float))),
          u_(m_ + aligned(p.m_floats() * sizeof(float))),
          splits_(u_ + aligned(p.u_floats() * u_copies * sizeof(float))),
          bytes_(std::max<size_t>(splits_ + splits, v_ + direct)) {}

    size_t bytes() const { return bytes_; }
    uint32_t* marks() const { return reinterpret_cast<uint32_t*>(begin_); }
    float* v() const { return floats(v_); }
    float* m() const { return floats(m_); }
    float* u() const { return floats(u_); }
    void* splits() const { return begin_ + splits_; }
    void* direct() const { return begin_ + v_; }

  private:
    static Size aligned(size_t bytes) { return Size{(bytes + 255) / 256} * 256; }
    float* floats(size_t offset) const { return reinterpret_cast<float*>(begin_ + offset); }

    char* begin_;
    Size v_, m_, u_, splits_;
    size_t bytes_;
};

template <int window_, int outputs_>
struct TileSize {
    static constexpr int window = window_, outputs = outputs_, points = window + outputs - 1;
};

// use(TileSize of the plan).
template <class Use>
void with_tile_size(const WinogradPlan& p, Use use) {
    if (p.window == 5) {
        use(TileSize<5, 4>());
    } else if (p.outputs == 5) {
        use(TileSize<3, 5>());
    } else {
        use(TileSize<3, 4>());
    }
}

// use(first image, images) for every chunk.
template <class Use>
void for_each_chunk(const WinogradPlan& p, Use use) {
    for (size_t first = 0; first < p.s.batch; first += p.chunk) {
        use(first, std::min(p.chunk, p.s.batch - first));
    }
}

inline Tiles tiles_of(const WinogradPlan& p, size_t images) {
    return {Divisor(p.down), Divisor(p.across), gemm_index(images * p.image_tiles()),
            static_cast<int32_t>(p.outputs)};
}

inline TiledImages<const float> input_of(const WinogradPlan& p, const float* x, size_t image) {
    const Conv2dShape& s = p.s;
    return {x + s.input_pixel(image, 0, 0),
            static_cast<int32_t>(gemm_index(s.in_height)),
            static_cast<int32_t>(gemm_index(s.in_width)),
            gemm_index(s.in_channels),
            -static_cast<int32_t>(s.pad_top),
            -static_cast<int32_t>(s.pad_left),
            Divisor(s.group_in())};
}

template <typename Float>
TiledImages<Float> output_of(const WinogradPlan& p, Float* y, size_t image) {
    const Conv2dShape& s = p.s;
    return {y + s.output_pixel(image, 0, 0),
            static_cast<int32_t>(gemm_index(s.out_height)),
            static_cast<int32_t>(gemm_index(s.out_width)),
            gemm_index(s.out_channels),
            0,
            0,
            Divisor(s.group_out())};
}

// A warp for each tile and 32 channels.
inline dim3 tile_grid(const Tiles& tiles, size_t channels) {
    return dim3(gemm_index(ceil_div(tiles.count, kTilesOfBlock)),
                gemm_index(ceil_div(channels, kWarp)));
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_WINOGRAD_MEMORY_CUH_
