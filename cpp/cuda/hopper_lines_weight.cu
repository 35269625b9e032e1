// Gradients of weight and bias of convolutions over images of few channels with wgmma: of float in
// tf32, of bfloat16 and float16 as they are (hopper_lines.cuh).
//
//   dweight (window, out) = windows of xᵀ (window, pixels of y) · dy (pixels of y, out)
//   dbias[o] = sum over all pixels of dy
//
// Blocks: each has a split of the items, kColumns output channels, and 24 units of 16 rows of C: units
//   of neighbouring elements of a line of the window, then, of each element behind the last step of
//   32, a unit of all lines. AlexNet's window has 23. Three warpgroups multiply, two tiles of four units
//   each, all of the block's items; a fourth one brings dy, and one of its threads has lines copied.
// Depths: windows, 8 or of 16 bits 16 a product. Of float they are taken in the order 0, 2, 4, 6, 1, 3,
//   5, 7: then the lanes of a warp, which read A from lines, are in different banks where windows are
//   12 elements apart. Of 16 bits a lane joins two windows' elements, read one by one, to a word.
// Shared memory: the ring of lines, and stages of dy, each of an item. wgmma takes B of tf32 in rows of
//   depths alone, rounded, so dy of float goes through registers, from rows of channels to rows of 32
//   windows with a swizzle of 128 bytes; what is written so becomes visible to wgmma by a fence of the
//   writing thread before it arrives at the stage's mbarrier. dy of 16 bits is copied as it is.
// Cost of an item: 2 · 384 · 64 · kColumns FLOP; from L2 stride_height lines and dy. Cycles of 56
//   windows and 64 channels: tensor cores 1344, shared memory 1344; of 16 bits 768 and 1152.
// Numerics: both operands are rounded to 10 bits of mantissa, exact products are added in float32 as
//   the tensor cores do, in order of items. Splits are added in order by another kernel; how many there
//   are depends on the shape alone. For the bias dy of float is added up beside, not rounded; dy of 16
//   bits, which no thread sees, by a kernel of its own.

#include <algorithm>
#include <cstdlib>
#include <string>

#include "column_sums.cuh"
#include "hopper_gemm.cuh"
#include "hopper_layers.cuh"
#include "hopper_lines_shape.cuh"

namespace alexnet::cuda {
namespace {

constexpr uint32_t kConsumers = 3, kTiles = 2;  // warpgroups, and tiles of 64 rows of each
constexpr uint32_t kThreads = (kConsumers + 1) * kWarpgroup;
constexpr uint32_t kWarps = kWarpgroup / kWarp;
constexpr uint32_t kUnitRows = 16, kUnits = kConsumers * kTiles * kWarps;  // of a block
constexpr uint32_t kStages = 3;                                            // of dy
constexpr int kFewRegisters = 80, kManyRegisters = 144;
constexpr size_t kMostSplits = 132;

// dy of an item: of float rows of 32 windows, of 16 bits boxes of 64 channels.
template <class T, uint32_t columns>
constexpr uint32_t kStageBytes =
    std::is_same_v<T, float> ? kLineWindows / kStepDepth<T> * columns * kRowBytes
                             : (columns + 63) / 64 * kBoxBytes<T>;

// 16 rows of C, as many elements of a window: neighbours of a line, or of neighbouring lines.
struct LineUnit {
    uint32_t line, position, line_step;  // line_step: 0 or 1
    bool exists;

    static __host__ __device__ uint32_t count(const HopperLines& w) {
        return w.kernel_lines * w.chunks() * (kLineStep / kUnitRows) + w.rests();
    }
    static __device__ LineUnit of(const HopperLines& w, uint32_t number) {
        const uint32_t of_line = w.chunks() * (kLineStep / kUnitRows);
        const uint32_t line = number / of_line;
        if (line < w.kernel_lines) return {line, (number - line * of_line) * kUnitRows, 0, true};
        const uint32_t rest = number - w.kernel_lines * of_line;
        return {0, w.chunks() * kLineStep + rest, 1, rest < w.rests()};
    }
    // Rows of C, which are those of HWIO.
    __device__ uint32_t first_row(const HopperLines& w) const { return line * w.run + position; }
    __device__ uint32_t row_step(const HopperLines& w) const { return line_step ? w.run : 1; }
};

struct Stage {
    uint32_t number = 0, parity = 0;
    __device__ void advance() {
        if (++number < kStages) return;
        number = 0;
        parity ^= 1;
    }
};

template <class T, uint32_t columns>
struct Shared {
    unsigned char* gradients;  // stages
    uint64_t *full, *room;     // of stages
    HopperRing<T> ring;

    __device__ Shared(unsigned char* memory, const HopperLines& w)
        : gradients(memory + (0u - shared_address(memory)) % kPatternBytes),
          full(reinterpret_cast<uint64_t*>(gradients + kStages * kStageBytes<T, columns>)),
          room(full + kStages),
          ring(gradients + kStages * kStageBytes<T, columns> + kRowBytes, w) {
        static_assert(2 * kStages * sizeof(uint64_t) <= kRowBytes);
    }
    __device__ unsigned char* gradient(const Stage& stage) const {
        return gradients + stage.number * kStageBytes<T, columns>;
    }
    // As B, from the given piece of windows on.
    __device__ uint64_t matrix(const Stage& stage, uint32_t piece) const {
        const uint32_t start = shared_address(gradient(stage));
        if constexpr (std::is_same_v<T, float>) {
            return swizzled_matrix(start) + piece / 4 * (columns * kRowBytes / 16) + piece % 4 * 2;
        } else {
            return swizzled_columns(start, kBoxBytes<T>) + piece * (kPiece<T> * kRowBytes / 16);
        }
    }
};

// --- dy ------------------------------------------------------------------------------------------

// An item's dy of float, by a warpgroup. A thread has one channel of each 32, and of all windows those of four
// chunks: a chunk is every other one of four windows, 16 bytes in shared memory.
template <uint32_t columns>
class GradientCopy {
  public:
    __device__ GradientCopy(const HopperLines& w, const float* dy, uint32_t out)
        : w_(w), dy_(dy), out_(out) {}

    __device__ void load(const HopperLineItem& item) {
        const uint32_t warp = threadIdx.x / kWarp % kWarps, own = warp / 2 * 8 + warp % 2;
        const float* first = dy_ + size_t{item.first_window(w_) + own} * out_ + channel(0);
        const uint32_t windows = item.windows(w_);
#pragma unroll
        for (uint32_t i = 0; i < kChunks; ++i) {
#pragma unroll
            for (uint32_t e = 0; e < 4; ++e) {
                const uint32_t window = i * (kWarps * 4) + 2 * e;  // from the thread's first on
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
    static constexpr uint32_t kBlocks = columns / kWarp, kChunks = kLineWindows / 4 / kWarps;

    static __device__ uint32_t chunk(uint32_t i) {
        return i * kWarps + threadIdx.x / kWarp % kWarps;
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
__device__ void bring(const HopperProduct<float>& p, const HopperLines& w,
                      const Shared<float, columns>& shared, const HopperLineShare& share,
                      const float* dy, float* bias_sums) {
    HopperLineCopies<float> copies(shared.ring, p.a, w);
    GradientCopy<columns> gradient(w, dy, p.n);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    gradient.load(item);
    Stage stage;
    for (uint32_t number = share.begin; number < share.end; ++number) {
        if (threadIdx.x % kWarpgroup == 0) copies.copy(item);
        __syncwarp();
        mbarrier_wait(shared.room + stage.number, stage.parity ^ 1);
        gradient.put(shared.gradient(stage));
        fence_proxy_async();
        mbarrier_arrive(shared.full + stage.number, 0);
        stage.advance();
        item.advance(w);
        if (number + 1 < share.end) gradient.load(item);  // on its way while others multiply
    }
    if (bias_sums && blockIdx.z == 0) {
        const uint32_t row = blockIdx.x * kWarps + threadIdx.x / kWarp % kWarps;
        gradient.store_sums(bias_sums + size_t{row} * p.n);
    }
}

template <class T, uint32_t columns>
__device__ void bring(const HopperProduct<T>& p, const HopperLines& w,
                      const Shared<T, columns>& shared, const HopperLineShare& share, const T*,
                      float*) {
    if (threadIdx.x % kWarpgroup != 0) return;
    HopperLineCopies<T> copies(shared.ring, p.a, w);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    Stage stage;
    for (uint32_t number = share.begin; number < share.end; ++number, item.advance(w)) {
        copies.copy(item);
        uint64_t* full = shared.full + stage.number;
        mbarrier_wait(shared.room + stage.number, stage.parity ^ 1);
        mbarrier_arrive_expect(full, kStageBytes<T, columns>);
        for (uint32_t box = 0; box * kBoxBytes<T> < kStageBytes<T, columns>; ++box) {
            tensor_copy(shared.gradient(stage) + box * kBoxBytes<T>, p.b, full,
                        static_cast<int>(blockIdx.y * columns + 64 * box),
                        static_cast<int>(item.segment * w.windows),
                        static_cast<int>(item.image * w.down + item.i));
        }
        stage.advance();
    }
}

// --- products ------------------------------------------------------------------------------------

// From a lane's windows, 2 · (lane mod 4) and on, to those of its second word.
template <class T>
constexpr uint32_t kLater = std::is_same_v<T, float> ? 1 : kPiece<T> / 2;

template <class T, uint32_t columns>
__device__ void multiply_items(const HopperProduct<T>& p, const HopperLines& w,
                               const Shared<T, columns>& shared, const HopperLineShare& share) {
    const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const auto unit = [&](uint32_t tile) {
        const uint32_t of_block = (warp / kWarps * kTiles + tile) * kWarps + warp % kWarps;
        return LineUnit::of(w, blockIdx.z * kUnits + of_block);
    };
    uint32_t lines[kTiles][2], places[kTiles][2];  // of the first element of a lane's two rows
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (uint32_t half = 0; half < 2; ++half) {
            const LineUnit of_tile = unit(tile);
            const uint32_t row = lane / 4 + 8 * half, line = of_tile.line + row * of_tile.line_step;
            const uint32_t position = of_tile.position + row * (1 - of_tile.line_step);
            const bool exists = of_tile.exists && line < w.kernel_lines;  // else it is not stored
            lines[tile][half] = exists ? line : 0;
            places[tile][half] = w.front + (exists ? position : 0) + lane % 4 * 2 * w.step;
        }
    }
    float sums[kTiles][columns / 2] = {};
    HopperLinesSeen<T> seen(shared.ring, w);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    Stage stage;
    for (uint32_t number = share.begin; number < share.end; ++number) {
        seen.take(item.first_line, item.first_line + w.kernel_lines);
        mbarrier_wait(shared.full + stage.number, stage.parity);
        const T* rows[kTiles][2];
#pragma unroll
        for (uint32_t tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (uint32_t half = 0; half < 2; ++half) {
                rows[tile][half] =
                    shared.ring.lines + seen.slot(lines[tile][half]) * w.pitch + places[tile][half];
            }
        }
        const uint32_t windows = item.windows(w), pieces = (windows + kPiece<T> - 1) / kPiece<T>;
        // While the products of a piece are on their way the next one is loaded. Windows behind the
        // last, in the last piece, are zero on both sides.
        uint32_t even[kTiles][4], odd[kTiles][4], piece = 0;
        uint32_t own = lane % 4 * 2;  // the lane's first window
        const auto multiply = [&](uint32_t (&a)[kTiles][4], bool may_be_last) {
#pragma unroll
            for (uint32_t tile = 0; tile < kTiles; ++tile) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {  // the other row, the other half of the windows
                    T word[kWord<T>];
#pragma unroll
                    for (uint32_t e = 0; e < kWord<T>; ++e) {
                        const uint32_t window = i / 2 * kLater<T> + e;
                        const bool exists = !may_be_last || own + window < windows;
                        word[e] = exists ? rows[tile][i % 2][window * w.step] : T{};
                    }
                    a[tile][i] = join_word(word);
                }
            }
            const uint64_t b = shared.matrix(stage, piece);
            wgmma_fence(a);
#pragma unroll
            for (uint32_t tile = 0; tile < kTiles; ++tile) {
                multiply_piece<T, columns, std::is_same_v<T, float>>(sums[tile], a[tile], b);
            }
            wgmma_commit();
            wgmma_wait<1>();
            ++piece;
            own += kPiece<T>;
#pragma unroll
            for (uint32_t tile = 0; tile < kTiles; ++tile) {
                rows[tile][0] += kPiece<T> * w.step;
                rows[tile][1] += kPiece<T> * w.step;
            }
        };
        for (uint32_t pair = 0; pair < pieces / 2; ++pair) {
            multiply(even, false);
            multiply(odd, true);
        }
        wgmma_wait<0>();
        if (pieces % 2 == 1) {
            multiply(even, true);
            wgmma_wait<0>();
        }
        if (lane == 0) mbarrier_arrive(shared.room + stage.number, 0);
        stage.advance();
        item.advance(w);
    }
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
        const LineUnit of_tile = unit(tile);
        const uint32_t row = of_tile.exists ? of_tile.first_row(w) : p.m;
        store<columns>(p, {row, p.m, blockIdx.y * columns, blockIdx.x, 0, 0}, sums[tile], row, lane,
                       of_tile.row_step(w));
    }
}

template <class T, uint32_t columns>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_lines_weight(const __grid_constant__ HopperProduct<T> p,
                        const __grid_constant__ HopperLines w, const T* dy, float* bias_sums) {
    const Shared<T, columns> shared(dynamic_shared<unsigned char>(), w);
    if (threadIdx.x == 0) {
        for (uint32_t stage = 0; stage < kStages; ++stage) {
            mbarrier_init(shared.full + stage, std::is_same_v<T, float> ? kWarpgroup : 1);
            mbarrier_init(shared.room + stage, kConsumers * kWarps);
        }
        shared.ring.begin(w, kConsumers * kWarps);
        fence_proxy_async();
    }
    __syncthreads();
    const auto share = HopperLineShare::of(w, blockIdx.x, gridDim.x);
    if (threadIdx.x >= kConsumers * kWarpgroup) {
        lower_registers<kFewRegisters>();
        bring(p, w, shared, share, dy, bias_sums);
    } else {
        raise_registers<kManyRegisters>();
        multiply_items(p, w, shared, share);
    }
}

// --- from the host -------------------------------------------------------------------------------

template <class T>
size_t fixed_bytes(const Conv2dShape& s) {  // of shared memory, beside the ring
    const bool wide = line_columns(s.out_channels) == 96;
    return kPatternBytes + kStages * (wide ? kStageBytes<T, 96> : kStageBytes<T, 64>)+kRowBytes;
}

// In the emulation ALEXNET_EMULATED_SPLITS says how many there are, so that small tests have few.
size_t most_splits() {
#ifdef ALEXNET_CUDA_EMULATION
    if (const char* splits = std::getenv("ALEXNET_EMULATED_SPLITS")) return std::stoul(splits);
#endif
    return kMostSplits;
}

// Of a block of each split, so that there are as many blocks as an H100 has multiprocessors.
dim3 grid_for(const Conv2dShape& s, const HopperLines& w) {
    const size_t across = ceil_div(s.out_channels, line_columns(s.out_channels));
    const size_t down = ceil_div(LineUnit::count(w), kUnits);
    const size_t splits = std::clamp<size_t>(most_splits() / (across * down), 1, w.items());
    return dim3(static_cast<unsigned>(splits), static_cast<unsigned>(across),
                static_cast<unsigned>(down));
}

size_t sum_bytes(const Conv2dShape& s, const dim3& grid) {
    return grid.x > 1 ? grid.x * s.window() * s.out_channels * sizeof(float) : 0;
}

template <class T>
size_t workspace_of(const Conv2dShape& s) {
    if (!hopper_lines_serve<T>(s, fixed_bytes<T>)) return 0;
    const dim3 grid = grid_for(s, hopper_lines<T>(s));
    if (!std::is_same_v<T, float>) {  // one after the other
        const size_t pixels = s.batch * s.out_height * s.out_width;
        return std::max(sum_bytes(s, grid), column_sums_workspace(pixels, s.out_channels));
    }
    const size_t rows = grid.x * kWarps;
    return sum_bytes(s, grid) + rows * s.out_channels * sizeof(float) +
           column_sums_workspace(rows, s.out_channels);
}

template <class T, uint32_t columns>
void launch_weight(const Conv2dShape& s, const HopperProduct<T>& p, const HopperLines& w,
                   const dim3& grid, const T* dy, float* bias_sums, Stream stream) {
    launch("hopper_lines_weight", hopper_lines_weight<T, columns>, grid, dim3(kThreads),
           fixed_bytes<T>(s) + HopperRing<T>::bytes(w), stream, p, w, dy, bias_sums);
}

}  // namespace

size_t hopper_lines_backward_weight_workspace(const Conv2dShape& s) {
    return std::max(workspace_of<float>(s), workspace_of<Bfloat16>(s));
}

template <class T>
bool hopper_lines_backward_weight(const Conv2dShape& s, const T* dy, const T* x,
                                  Precision precision, float* dweight, float* dbias,
                                  void* workspace, Stream stream) {
    constexpr bool kIsFloat = std::is_same_v<T, float>;
    if (!lines_have<T>(precision) || !hopper_lines_serve<T>(s, fixed_bytes<T>)) return false;
    const HopperLines w = hopper_lines<T>(s, fixed_bytes<T>(s));
    const dim3 grid = grid_for(s, w);
    const size_t out = s.out_channels, lines = s.batch * s.out_height;
    auto* sums = static_cast<float*>(workspace);
    float* bias_sums = sums + sum_bytes(s, grid) / sizeof(float);
    HopperProduct<T> p = hopper_lines_product(s, x, w);
    if (!kIsFloat) {
        p.b =
            array_map<T, 3>(dy, {out, s.out_width, lines}, {out, out * s.out_width}, kLineWindows);
    }
    p.m = static_cast<uint32_t>(s.window());
    p.gradient = dweight;
    p.splits = grid.x;
    p.sums = sums;
    p.sum_stride = out;
    p.split_size = s.window() * out;
    const auto launch_for = line_columns(out) == 96 ? launch_weight<T, 96> : launch_weight<T, 64>;
    launch_for(s, p, w, grid, dy, dbias ? bias_sums : nullptr, stream);
    if (p.splits > 1) add_hopper_splits(p, s.window(), out, stream);
    if (!dbias) return true;
    if (kIsFloat) {
        const size_t rows = grid.x * kWarps;
        column_sums(rows, out, bias_sums, dbias, bias_sums + rows * out, stream);
    } else {
        column_sums(lines * s.out_width, out, dy, dbias, workspace, stream);
    }
    return true;
}

#define ALEXNET_INSTANTIATE(T)                                                                    \
    template bool hopper_lines_backward_weight(const Conv2dShape&, const T*, const T*, Precision, \
                                               float*, float*, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
