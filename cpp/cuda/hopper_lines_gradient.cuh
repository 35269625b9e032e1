// How dy comes into shared memory for the gradient of the weight over lines of images
// (hopper_lines_weight.cu), beside the lines: stages of an item's dy, and who fills them.

#ifndef ALEXNET_CUDA_HOPPER_LINES_GRADIENT_CUH_
#define ALEXNET_CUDA_HOPPER_LINES_GRADIENT_CUH_

#include "hopper_lines.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

constexpr uint32_t kGradientStages = 3;
constexpr uint32_t kCopyingWarps = kWarpgroup / kWarp;

// dy of an item: of float rows of 32 windows, of 16 bits boxes of 64 channels or, where columns are not
// whole ones of these, of 32: their bytes are what the swizzle permutes.
template <class T, uint32_t columns>
constexpr uint32_t kGradientBytes = kLineWindows * columns * sizeof(T);
template <uint32_t columns>
constexpr uint32_t kGradientSpan = columns % 64 == 0 ? 128 : 64;
template <uint32_t columns>
constexpr uint32_t kGradientBox = kLineWindows * kGradientSpan<columns>;

template <class T, uint32_t columns>
struct GradientShared {
    unsigned char* gradients;  // stages
    uint64_t *full, *room;     // of stages
    HopperRing<T> ring;

    __device__ GradientShared(unsigned char* memory, const HopperLines& w)
        : gradients(memory + (0u - shared_address(memory)) % kPatternBytes),
          full(reinterpret_cast<uint64_t*>(gradients +
                                           kGradientStages * kGradientBytes<T, columns>)),
          room(full + kGradientStages),
          ring(gradients + kGradientStages * kGradientBytes<T, columns> + kRowBytes, w) {
        static_assert(2 * kGradientStages * sizeof(uint64_t) <= kRowBytes);
    }
    __device__ unsigned char* gradient(const HopperSlot& stage) const {
        return gradients + stage.number * kGradientBytes<T, columns>;
    }
    // As B, from its first windows on, and what is added for a piece of them.
    __device__ uint64_t matrix(const HopperSlot& stage) const {
        const uint32_t start = shared_address(gradient(stage));
        return std::is_same_v<T, float>
                   ? swizzled_matrix(start)
                   : swizzled_columns<kGradientSpan<columns>>(start, kGradientBox<columns>);
    }
    static __device__ uint32_t to_piece(uint32_t piece) {
        return std::is_same_v<T, float> ? piece / 4 * (columns * kRowBytes / 16) + piece % 4 * 2
                                        : piece * (kPiece<T> * kGradientSpan<columns> / 16);
    }
};

// --- dy ------------------------------------------------------------------------------------------

// An item's dy of float, by a warpgroup. A thread has one channel of each 32, and of all windows those of
// four chunks: a chunk is every other one of eight windows, 16 bytes in shared memory.
template <uint32_t columns>
class GradientCopy {
  public:
    __device__ GradientCopy(const HopperLines& w, const float* dy, uint32_t out)
        : w_(w), dy_(dy), out_(out) {}

    __device__ void load(const HopperLineItem& item) {
        const uint32_t warp = threadIdx.x / kWarp % kCopyingWarps, own = warp / 2 * 8 + warp % 2;
        const float* first = dy_ + size_t{item.first_window(w_) + own} * out_ + channel(0);
        const uint32_t windows = item.windows(w_);
#pragma unroll
        for (uint32_t i = 0; i < kChunks; ++i) {
#pragma unroll
            for (uint32_t e = 0; e < 4; ++e) {
                const uint32_t window =
                    i * (kCopyingWarps * 4) + 2 * e;  // from the thread's first on
                const bool exists = own + window < windows;
#pragma unroll
                for (uint32_t block = 0; block < kBlocks; ++block) {
                    values_[block][i][e] = exists && channel(block) < out_
                                               ? first[window * out_ + kWarp * block]
                                               : 0.0f;
                }
            }
        }
    }
    __device__ void put(unsigned char* stage) {
#pragma unroll
        for (uint32_t block = 0; block < kBlocks; ++block) {
            const uint32_t column = kWarp * block + threadIdx.x % kWarp;
            float sum = 0.0f;
#pragma unroll
            for (uint32_t i = 0; i < kChunks; ++i) {
                Floats<4> rounded;
#pragma unroll
                for (uint32_t e = 0; e < 4; ++e) {
                    sum += values_[block][i][e];
                    rounded.at[e] = __uint_as_float(to_tf32(values_[block][i][e]));
                }
                unsigned char* row = stage + (chunk(i) / 8 * columns + column) * kRowBytes;
                store_floats<4>(reinterpret_cast<float*>(row + (chunk(i) % 8 ^ column % 8) * 16),
                                rounded);
            }
            sums_[block] += sum;
        }
    }
    // A row of a warp's sums over all items, into those of all channels.
    __device__ void store_sums(float* row) const {
#pragma unroll
        for (uint32_t block = 0; block < kBlocks; ++block) {
            if (channel(block) < out_) row[channel(block)] = sums_[block];
        }
    }

  private:
    static constexpr uint32_t kBlocks = columns / kWarp, kChunks = kLineWindows / 4 / kCopyingWarps;

    static __device__ uint32_t chunk(uint32_t i) {
        return i * kCopyingWarps + threadIdx.x / kWarp % kCopyingWarps;
    }
    static __device__ uint32_t channel(uint32_t block) {
        return blockIdx.y * columns + kWarp * block + threadIdx.x % kWarp;
    }

    const HopperLines& w_;
    const float* dy_;
    uint32_t out_;
    float values_[kBlocks][kChunks][4], sums_[kBlocks] = {};
};

// By a warpgroup.
template <uint32_t columns>
__device__ void bring_gradient(const HopperProduct<float>& p, const HopperLines& w,
                               const GradientShared<float, columns>& shared,
                               const HopperLineShare& share, const float* dy, float* bias_sums) {
    HopperLineCopies<float> copies(shared.ring, p.a, w);
    GradientCopy<columns> gradient(w, dy, p.n);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    gradient.load(item);
    HopperSlot stage;
    for (uint32_t number = share.begin; number < share.end; ++number) {
        if (threadIdx.x % kWarpgroup == 0) copies.copy(item);
        __syncwarp();
        mbarrier_wait(shared.room + stage.number, stage.parity ^ 1);
        gradient.put(shared.gradient(stage));
        fence_proxy_async();
        mbarrier_arrive(shared.full + stage.number, 0);
        stage.advance(kGradientStages);
        item.advance(w);
        if (number + 1 < share.end) gradient.load(item);  // on its way while others multiply
    }
    if (bias_sums && blockIdx.z == 0) {
        const uint32_t row = blockIdx.x * kCopyingWarps + threadIdx.x / kWarp % kCopyingWarps;
        gradient.store_sums(bias_sums + size_t{row} * p.n);
    }
}

template <class T, uint32_t columns>
__device__ void bring_gradient(const HopperProduct<T>& p, const HopperLines& w,
                               const GradientShared<T, columns>& shared,
                               const HopperLineShare& share, const T*, float*) {
    constexpr uint32_t kOfBox = kGradientSpan<columns> / sizeof(T);  // channels
    if (threadIdx.x % kWarpgroup != 0) return;
    HopperLineCopies<T> copies(shared.ring, p.a, w);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    HopperSlot stage;
    for (uint32_t number = share.begin; number < share.end; ++number, item.advance(w)) {
        copies.copy(item);
        uint64_t* full = shared.full + stage.number;
        mbarrier_wait(shared.room + stage.number, stage.parity ^ 1);
        mbarrier_arrive_expect(full, kGradientBytes<T, columns>);
        for (uint32_t channel = 0; channel < columns; channel += kOfBox) {
            tensor_copy(shared.gradient(stage) + channel / kOfBox * kGradientBox<columns>, p.b,
                        full, static_cast<int>(blockIdx.y * columns + channel),
                        static_cast<int>(item.segment * w.windows),
                        static_cast<int>(item.image * w.down + item.i));
        }
        stage.advance(kGradientStages);
    }
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_LINES_GRADIENT_CUH_
