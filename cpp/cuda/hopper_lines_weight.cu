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
#include "hopper_lines_gradient.cuh"
#include "hopper_lines_shape.cuh"

namespace alexnet::cuda {
namespace {

constexpr uint32_t kConsumers = 3, kTiles = 2;  // warpgroups, and tiles of 64 rows of each
constexpr uint32_t kThreads = (kConsumers + 1) * kWarpgroup;
constexpr uint32_t kWarps = kWarpgroup / kWarp;
constexpr uint32_t kUnitRows = 16, kUnits = kConsumers * kTiles * kWarps;  // of a block
constexpr int kFewRegisters = 80, kManyRegisters = 144;
constexpr size_t kMostSplits = 132;

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

// --- products ------------------------------------------------------------------------------------

// From a lane's windows, 2 · (lane mod 4) and on, to those of its second word.
template <class T>
constexpr uint32_t kLater = std::is_same_v<T, float> ? 1 : kPiece<T> / 2;

template <class T, uint32_t columns>
__device__ void multiply_items(const HopperProduct<T>& p, const HopperLines& w,
                               const GradientShared<T, columns>& shared,
                               const HopperLineShare& share) {
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
    HopperSlot stage;
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
        const uint64_t matrix = shared.matrix(stage);
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
            const uint64_t b = matrix + shared.to_piece(piece);
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
        for (uint32_t left = pieces / 2; left > 0; --left) {
            multiply(even, false);
            multiply(odd, true);
        }
        wgmma_wait<0>();
        if (pieces % 2 == 1) {
            multiply(even, true);
            wgmma_wait<0>();
        }
        if (lane == 0) mbarrier_arrive(shared.room + stage.number, 0);
        stage.advance(kGradientStages);
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
    const GradientShared<T, columns> shared(dynamic_shared<unsigned char>(), w);
    if (threadIdx.x == 0) {
        for (uint32_t stage = 0; stage < kGradientStages; ++stage) {
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
        bring_gradient(p, w, shared, share, dy, bias_sums);
    } else {
        raise_registers<kManyRegisters>();
        multiply_items(p, w, shared, share);
    }
}

// --- from the host -------------------------------------------------------------------------------

template <class T>
size_t fixed_bytes(const Conv2dShape& s) {  // of shared memory, beside the ring
    const bool wide = line_columns(s.out_channels) == 96;
    return kPatternBytes +
           kGradientStages * (wide ? kGradientBytes<T, 96> : kGradientBytes<T, 64>)+kRowBytes;
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

// Of dy of 16 bits, a box of a line's windows.
template <uint32_t columns, class T>
CUtensorMap gradient_map(const Conv2dShape& s, const T* dy) {
    constexpr uint32_t kSpan = kGradientSpan<columns>;
    const size_t out = s.out_channels, lines = s.batch * s.out_height;
    return array_map<T, 3>(dy, {out, s.out_width, lines}, {out, out * s.out_width}, kLineWindows,
                           kSpan / sizeof(T),
                           kSpan == 128 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B);
}

template <class T, uint32_t columns>
void launch_weight(const Conv2dShape& s, const HopperProduct<T>& p, const HopperLines& w,
                   const dim3& grid, const T* dy, float* bias_sums, Stream stream) {
    note_hopper_lines();
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
    if constexpr (!kIsFloat) {
        p.b = line_columns(out) == 96 ? gradient_map<96>(s, dy) : gradient_map<64>(s, dy);
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
