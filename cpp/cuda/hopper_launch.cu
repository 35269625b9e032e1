// Cutting and launching; hopper_launch.cuh says what is launched for a product.

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "alexnet/force_blocking.h"
#include "column_sums.cuh"
#include "hopper_launch.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMultiprocessors = 132;
constexpr size_t kMostSplits = 96;
// Of the 48 products of convolutions of gpu-h200.json (docs/gpu.md, "measured : predicted"), fitted by
// benchmarks/gpu_fit.py to one H200; but for the stores, which were mended since.
constexpr size_t kTensorProducts = 30;  // rows · columns a cycle: 0.94 of wgmma's 32
constexpr size_t kSharedPercent = 80;   // of the wavefronts that are counted
constexpr size_t kL2Bytes = 5120;       // a cycle, of all multiprocessors
constexpr size_t kMemoryBytes = 2000;   // a cycle, where splits are added
constexpr size_t kLaunchCycles = 1000;  // of that kernel
constexpr size_t kStoredElements = 8;   // a cycle, of the sums of a tile in the epilogue
constexpr size_t kAlignment = 256;      // bytes, of what the workspace is divided into

size_t padded(size_t bytes) { return ceil_div(bytes, kAlignment) * kAlignment; }

struct TileSize {
    size_t rows, columns;
    bool of_16_bits;  // as well as of float
};
constexpr TileSize kTiles[] = {{128, 256, true}, {192, 192, true}, {128, 192, false},
                               {128, 128, true}, {192, 64, true},  {128, 64, true},
                               {128, 32, false}};

// With clusters of so many blocks, which have a tile of B in common.
size_t cycles(const TileSize& tile, size_t blocks, size_t m, size_t n, size_t splits,
              size_t split_steps) {
    const size_t rows = tile.rows, columns = tile.columns;
    const size_t items = ceil_div(m, blocks * rows) * blocks * ceil_div(n, columns) * splits;
    const size_t tensor = rows * columns / kTensorProducts;
    const size_t shared = (2 * rows + columns * (1 + rows / 64)) * kSharedPercent / 100;
    const size_t active = std::min(items, kMultiprocessors);
    const size_t l2 = (rows + columns / blocks) * kRowBytes * active / kL2Bytes;
    const size_t stored = rows * columns / kStoredElements;
    const size_t item = split_steps * std::max({tensor, shared, l2}) + stored;
    const size_t sums = splits == 1 ? 0 : kLaunchCycles + 4 * (splits + 1) * m * n / kMemoryBytes;
    return ceil_div(items, kMultiprocessors) * item + sums;
}

// In the emulation ALEXNET_EMULATED_TILE names the only tile there is, so that tests can take each of
// them in turn: 128x64, or 128x64x2 in clusters of two blocks.
bool exists([[maybe_unused]] const TileSize& tile, [[maybe_unused]] size_t blocks) {
#ifdef ALEXNET_CUDA_EMULATION
    if (const char* name = std::getenv("ALEXNET_EMULATED_TILE")) {
        const std::string single = std::to_string(tile.rows) + "x" + std::to_string(tile.columns);
        return (blocks == 1 ? single : single + "x" + std::to_string(blocks)) == name;
    }
#endif
    return true;
}

// What force_blocking.h asks for, and the product that it tells of.
struct OfThread {
    HopperCut asked;
    size_t m, n, steps;  // of the last one
    bool of_float;
    bool over_lines;  // was it over lines, which is cut in one way
};
OfThread& of_thread() {
    thread_local OfThread state = {};
    return state;
}

// --- B -------------------------------------------------------------------------------------------

constexpr unsigned kSquare = 32, kSquareLines = 8, kSquares = 4;
constexpr unsigned kBlockDepths = kSquares * kSquare;

// A block moves 32 rows by 128 depths under one tap: read along whichever index has neighbours, all of
// them on their way at once, written along depths, 512 bytes a row. With `sums`, of b whose rows are
// neighbours, it adds up its depths as well, in chains of 16 and one of eight.
__global__ void __launch_bounds__(kSquare* kSquareLines)
    hopper_prepare(const HopperSource<float> b, float* prepared, float* sums) {
    constexpr uint32_t kLine = kSquare + 1, kTurns = kSquare / kSquareLines;
    float* block = dynamic_shared<float>();         // of depths by rows, 33 floats apart
    float* partial = block + kBlockDepths * kLine;  // of lines by rows
    const uint32_t first_row = blockIdx.y * kSquare, first_depth = blockIdx.x * kBlockDepths;
    const float* source = b.data + static_cast<ptrdiff_t>(blockIdx.z) * b.tap_step;
    const bool along_rows = b.row_step == 1;
    float values[kSquares * kTurns];
#pragma unroll
    for (uint32_t i = 0; i < kSquares * kTurns; ++i) {
        const uint32_t line = threadIdx.y + i % kTurns * kSquareLines;
        const uint32_t row = first_row + (along_rows ? threadIdx.x : line);
        const uint32_t depth =
            first_depth + i / kTurns * kSquare + (along_rows ? line : threadIdx.x);
        const bool exists = row < b.rows && depth < b.depths;
        values[i] = exists ? source[static_cast<ptrdiff_t>(row) * b.row_step +
                                    static_cast<ptrdiff_t>(depth) * b.depth_step]
                           : 0.0f;
    }
    float sum = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < kSquares * kTurns; ++i) {
        const uint32_t line = threadIdx.y + i % kTurns * kSquareLines;
        const uint32_t row = along_rows ? threadIdx.x : line;
        const uint32_t depth = i / kTurns * kSquare + (along_rows ? line : threadIdx.x);
        block[depth * kLine + row] = __uint_as_float(to_tf32(values[i]));
        sum += values[i];
    }
    if (sums) partial[threadIdx.y * kSquare + threadIdx.x] = sum;
    __syncthreads();
    if (sums && threadIdx.y == 0 && first_row + threadIdx.x < b.rows) {
        float all = 0.0f;
        for (uint32_t line = 0; line < kSquareLines; ++line) {
            all += partial[line * kSquare + threadIdx.x];
        }
        sums[size_t{blockIdx.x} * b.rows + first_row + threadIdx.x] = all;
    }
    const uint32_t steps = (b.depths + kSquare - 1) / kSquare;  // under a tap
    const size_t row_floats = size_t{steps} * gridDim.z * kSquare;
    const uint32_t lane = threadIdx.x, first = lane / 8 * 8, place = lane % 8;
    const uint32_t depth = b.pairs ? first + place % 4 * 2 + place / 4 : lane;
#pragma unroll
    for (uint32_t row = threadIdx.y; row < kSquare; row += kSquareLines) {
        if (first_row + row >= b.rows) break;
        float* target = prepared + (first_row + row) * row_floats + lane +
                        (size_t{blockIdx.z} * steps + blockIdx.x * kSquares) * kSquare;
#pragma unroll
        for (uint32_t square = 0; square < kSquares; ++square) {
            if (blockIdx.x * kSquares + square >= steps) break;
            target[square * kSquare] = block[(square * kSquare + depth) * kLine + row];
        }
    }
}

// `memory` is for what the blocks of several depths have added up.
void prepare(const HopperSource<float>& b, float* prepared, float* depth_sums, float* memory,
             Stream stream) {
    const size_t blocks = ceil_div(b.depths, kBlockDepths);
    float* sums = depth_sums && blocks > 1 ? memory : depth_sums;
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(ceil_div(b.rows, kSquare)),
                    b.taps);
    launch("hopper_prepare", hopper_prepare, grid, dim3(kSquare, kSquareLines),
           (kBlockDepths * (kSquare + 1) + kSquare * kSquareLines) * sizeof(float), stream, b,
           prepared, sums);
    if (sums == depth_sums) return;
    column_sums(blocks, b.rows, sums, depth_sums, memory + blocks * b.rows, stream);
}

size_t depth_sums_bytes(size_t rows, size_t depths) {
    const size_t blocks = ceil_div(depths, kBlockDepths);
    return blocks * rows * sizeof(float) + column_sums_workspace(blocks, rows);
}

// --- sums of splits ------------------------------------------------------------------------------

constexpr uint32_t kSumsAtOnce = 16;

template <class T>
__global__ void __launch_bounds__(kBlockThreads)
    hopper_sum(const float* sums, uint32_t splits, uint32_t size, uint32_t neighbours, T* c,
               size_t stride, const float* bias, bool relu, const T* relu_output) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= size) return;
    float sum = 0.0f;
    uint32_t split = 0;
    for (; split + kSumsAtOnce <= splits; split += kSumsAtOnce) {  // many loads on their way
        float values[kSumsAtOnce];
#pragma unroll
        for (uint32_t i = 0; i < kSumsAtOnce; ++i) {
            values[i] = sums[size_t{split + i} * size + index];
        }
#pragma unroll
        for (uint32_t i = 0; i < kSumsAtOnce; ++i) sum += values[i];
    }
#pragma unroll 4
    for (; split < splits; ++split) sum += sums[size_t{split} * size + index];
    const uint32_t line = index / neighbours, j = index - line * neighbours;
    if (bias) sum += bias[j];
    if (relu && sum < 0.0f) sum = 0.0f;
    const size_t place = line * stride + j;
    if (relu_output && !(to_float(relu_output[place]) > 0.0f)) sum = 0.0f;
    c[place] = from_float<T>(sum);
}

}  // namespace

// use(cut, cycles), for each that there is.
template <class T, class Use>
static void for_each_cut(size_t m, size_t n, size_t steps, Use use) {
    for (const size_t blocks : {size_t{1}, size_t{2}}) {
        for (const TileSize& tile : kTiles) {
            if (!exists(tile, blocks) || !(tile.of_16_bits || std::is_same_v<T, float>)) continue;
            for (size_t splits = 1; splits <= std::min(steps, kMostSplits); ++splits) {
                const size_t split_steps = ceil_div(steps, splits);
                if (ceil_div(steps, split_steps) != splits) continue;  // some of them are empty
                use(HopperCut{tile.rows, tile.columns, splits, split_steps, blocks},
                    cycles(tile, blocks, m, n, splits, split_steps));
            }
        }
    }
}

template <class T>
HopperCut hopper_cut(size_t m, size_t n, size_t steps) {
    HopperCut best = {}, forced = {};
    size_t least = SIZE_MAX;
    for_each_cut<T>(m, n, steps, [&](const HopperCut& cut, size_t needed) {
        const HopperCut& asked = of_thread().asked;
        if (cut.rows == asked.rows && cut.columns == asked.columns && cut.blocks == asked.blocks &&
            cut.splits == asked.splits) {
            forced = cut;
        }
        if (needed >= least) return;  // clusters, which come last, only where they are sooner
        least = needed;
        best = cut;
    });
    if (best.rows == 0) throw std::runtime_error("hopper_cut: no tile");  // of those that exist
    return forced.rows != 0 ? forced : best;
}

void force_hopper_cut(size_t rows, size_t columns, size_t blocks, size_t splits) {
    of_thread().asked = {rows, columns, splits, 0, blocks};
}

void note_hopper_lines() {
    of_thread().over_lines = true;
    of_thread().steps = 0;
}

std::vector<HopperChoice> hopper_choices() {
    std::vector<HopperChoice> result;
    const auto add = [&](const HopperCut& cut, size_t needed) {
        result.push_back({cut.rows, cut.columns, cut.blocks, cut.splits, needed});
    };
    OfThread& last = of_thread();
    if (last.over_lines) result.push_back({0, 0, 1, 1, 1});
    last.over_lines = false;
    if (last.steps == 0) return result;
    last.of_float ? for_each_cut<float>(last.m, last.n, last.steps, add)
                  : for_each_cut<Bfloat16>(last.m, last.n, last.steps, add);
    last.steps = 0;
    return result;
}

bool hopper_is_here() {
    int device = 0, major = 0, minor = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) ==
               cudaSuccess &&
           major == 9 && minor == 0;
}

template <class T>
size_t hopper_workspace(size_t m, const HopperSource<T>& b, size_t size, bool depth_sums) {
    const size_t splits = hopper_cut<T>(m, b.rows, b.steps()).splits;
    size_t sums = splits > 1 ? splits * size * sizeof(float) : 0;
    if (depth_sums) sums = std::max(sums, depth_sums_bytes(b.rows, b.depths));
    return kAlignment + padded(b.prepared_bytes()) + padded(sums);
}

// Of float, B where it was prepared; of 16 bits, where the caller has it.
template <class T>
static CUtensorMap map_b(const HopperSource<T>& b, const T* prepared, const HopperCut& cut) {
    const size_t columns = cut.columns / cut.blocks;
    if constexpr (std::is_same_v<T, float>) {
        const size_t depths = b.steps() * kStepDepth<T>;
        return matrix_map(prepared, b.rows, depths, depths, columns);
    } else {
        const auto tap_step = static_cast<size_t>(std::abs(b.tap_step));
        const T* data = b.tap_step < 0 ? b.data + b.tap_step * (b.taps - 1) : b.data;
        const bool along_depth = b.depth_step == 1;
        const auto step = static_cast<size_t>(along_depth ? b.row_step : b.depth_step);
        const size_t across = along_depth ? b.rows : b.depths;
        return array_map<T, 3>(data, {along_depth ? b.depths : b.rows, across, b.taps},
                               {step, b.taps > 1 ? tap_step : step * across},
                               along_depth ? columns : kStepDepth<T>);
    }
}

template <class T>
void add_hopper_splits(const HopperProduct<T>& p, size_t lines, size_t neighbours, Stream stream) {
    const size_t size = lines * neighbours;
    const auto sum_into = [&](auto* c) {
        using Element = std::remove_pointer_t<decltype(c)>;
        const Element* relu_output = nullptr;  // for C itself, not for a gradient of weights
        if constexpr (std::is_same_v<T, Element>) relu_output = p.relu_output;
        launch("hopper_sum", hopper_sum<Element>, blocks_for(size), kBlockThreads, 0, stream,
               p.sums, p.splits, static_cast<uint32_t>(size), static_cast<uint32_t>(neighbours), c,
               p.stride, p.bias, p.relu, relu_output);
    };
    p.gradient ? sum_into(p.gradient) : sum_into(p.c);
}

template <class T>
void run_hopper(HopperTask<T> task, void* workspace, Stream stream) {
    HopperProduct<T>& p = task.p;
    const HopperSource<T>& b = task.b;
    const size_t size = task.lines * task.neighbours;
    const HopperCut cut = hopper_cut<T>(p.m, p.n, b.steps());
    OfThread& last = of_thread();
    last.m = p.m;
    last.n = p.n;
    last.steps = b.steps();
    last.of_float = std::is_same_v<T, float>;
    last.over_lines = false;
    auto* memory = static_cast<unsigned char*>(workspace);
    memory += padded(reinterpret_cast<uintptr_t>(memory)) - reinterpret_cast<uintptr_t>(memory);
    auto* prepared = reinterpret_cast<T*>(memory);
    p.sums = reinterpret_cast<float*>(memory + padded(b.prepared_bytes()));
    if constexpr (std::is_same_v<T, float>) {  // sums over depths are done before those of splits
        prepare(b, prepared, task.depth_sums, p.sums, stream);
    }

    p.a = task.map_a(cut.rows);
    p.b = map_b(b, prepared, cut);
    p.blocks = static_cast<uint32_t>(cut.blocks);
    p.steps = static_cast<uint32_t>(b.steps());
    p.tap_steps = static_cast<uint32_t>(b.tap_steps());
    p.last_tap = b.tap_step < 0 ? b.taps - 1 : 0;
    p.splits = static_cast<uint32_t>(cut.splits);
    p.split_steps = static_cast<uint32_t>(cut.split_steps);
    p.sum_stride = task.neighbours;
    p.split_size = size;
    const HopperOrder order = {task.a_along_depth, b.depth_step == 1};
    launch_tiles(cut, p, order, stream);
    if (p.splits > 1) add_hopper_splits(p, task.lines, task.neighbours, stream);
}

#define ALEXNET_INSTANTIATE(T)                                                        \
    template HopperCut hopper_cut<T>(size_t, size_t, size_t);                         \
    template size_t hopper_workspace(size_t, const HopperSource<T>&, size_t, bool);   \
    template void add_hopper_splits(const HopperProduct<T>&, size_t, size_t, Stream); \
    template void run_hopper(HopperTask<T>, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
