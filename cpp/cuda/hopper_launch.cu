// Cutting and launching; hopper_launch.cuh says what is launched for a product.

#include <algorithm>
#include <cstdlib>
#include <string>

#include "hopper_launch.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMultiprocessors = 132;
constexpr size_t kMostSplits = 96;
constexpr size_t kL2Bytes = 5120;      // a cycle, of all multiprocessors
constexpr size_t kMemoryBytes = 1600;  // a cycle
constexpr size_t kItemCycles = 1000;   // until the first step arrives, and for the way out
constexpr size_t kLaunchCycles = 4000;
constexpr size_t kAlignment = 256;  // of what the workspace is divided into

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
size_t padded(size_t bytes) { return ceil_div(bytes, kAlignment) * kAlignment; }

struct TileSize {
    size_t rows, columns;
};
constexpr TileSize kTiles[] = {{128, 256}, {192, 192}, {128, 192}, {128, 128},
                               {192, 64},  {128, 64},  {128, 32}};

size_t cycles(const TileSize& tile, size_t m, size_t n, size_t splits, size_t split_steps) {
    const auto [rows, columns] = tile;
    const size_t items = ceil_div(m, rows) * ceil_div(n, columns) * splits;
    const size_t tensor = rows * columns / 32;
    const size_t shared = 2 * rows + columns * (1 + rows / 64);
    const size_t active = std::min(items, kMultiprocessors);
    const size_t l2 = (rows + columns) * kRowBytes * active / kL2Bytes;
    const size_t item = split_steps * std::max({tensor, shared, l2}) + kItemCycles;
    const size_t sums = splits == 1 ? 0 : kLaunchCycles + 4 * (splits + 1) * m * n / kMemoryBytes;
    return ceil_div(items, kMultiprocessors) * item + sums;
}

// In the emulation ALEXNET_EMULATED_TILE names the only tile there is, so that tests can take each of
// them in turn.
bool exists([[maybe_unused]] const TileSize& tile) {
#ifdef ALEXNET_CUDA_EMULATION
    if (const char* name = std::getenv("ALEXNET_EMULATED_TILE")) {
        return std::to_string(tile.rows) + "x" + std::to_string(tile.columns) == name;
    }
#endif
    return true;
}

// --- B -------------------------------------------------------------------------------------------

constexpr unsigned kSquare = 32, kSquareLines = 8;

// A block moves 32 rows by 32 depths under one tap: read along whichever index has neighbours,
// written along depths.
__global__ void __launch_bounds__(kSquare* kSquareLines)
    hopper_prepare(const HopperSource b, float* prepared) {
    float* square = dynamic_shared<float>();  // of depths by rows, 33 floats apart
    const uint32_t first_row = blockIdx.x * kSquare, first_depth = blockIdx.y * kSquare;
    const float* source = b.data + static_cast<ptrdiff_t>(blockIdx.z) * b.tap_step;
    const bool along_rows = b.row_step == 1;
#pragma unroll
    for (uint32_t line = threadIdx.y; line < kSquare; line += kSquareLines) {
        const uint32_t row = along_rows ? threadIdx.x : line;
        const uint32_t depth = along_rows ? line : threadIdx.x;
        const bool exists = first_row + row < b.rows && first_depth + depth < b.depths;
        const float value = exists
                                ? source[static_cast<ptrdiff_t>(first_row + row) * b.row_step +
                                         static_cast<ptrdiff_t>(first_depth + depth) * b.depth_step]
                                : 0.0f;
        square[depth * (kSquare + 1) + row] = __uint_as_float(to_tf32(value));
    }
    __syncthreads();
    const size_t row_floats = size_t{gridDim.y} * gridDim.z * kSquare;
    const uint32_t lane = threadIdx.x, first = lane / 8 * 8, place = lane % 8;
    const uint32_t depth = b.pairs ? first + place % 4 * 2 + place / 4 : lane;
#pragma unroll
    for (uint32_t row = threadIdx.y; row < kSquare; row += kSquareLines) {
        if (first_row + row >= b.rows) break;
        prepared[(first_row + row) * row_floats +
                 (size_t{blockIdx.z} * gridDim.y + blockIdx.y) * kSquare + lane] =
            square[depth * (kSquare + 1) + row];
    }
}

void prepare(const HopperSource& b, float* prepared, Stream stream) {
    const dim3 grid(static_cast<unsigned>(ceil_div(b.rows, kSquare)),
                    static_cast<unsigned>(ceil_div(b.depths, kSquare)), b.taps);
    launch("hopper_prepare", hopper_prepare, grid, dim3(kSquare, kSquareLines),
           kSquare * (kSquare + 1) * sizeof(float), stream, b, prepared);
}

// --- sums of splits ------------------------------------------------------------------------------

__global__ void __launch_bounds__(kBlockThreads)
    hopper_sum(const float* sums, uint32_t splits, uint32_t size, uint32_t neighbours, float* c,
               size_t stride, const float* bias, bool relu) {
    const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= size) return;
    float sum = 0.0f;
#pragma unroll 4
    for (uint32_t split = 0; split < splits; ++split) sum += sums[size_t{split} * size + index];
    const uint32_t line = index / neighbours, j = index - line * neighbours;
    if (bias) sum += bias[j];
    c[line * stride + j] = relu && sum < 0.0f ? 0.0f : sum;
}

// --- tiles ---------------------------------------------------------------------------------------

template <class Tile>
void launch_tile(const HopperProduct& p, bool depth_contiguous, Stream stream) {
    int device = 0, multiprocessors = 0;
    check(cudaGetDevice(&device), "hopper_gemm");
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
          "hopper_gemm");
    // As few blocks as are done no later: all have the same number of items.
    const size_t items = HopperItem::count<Tile>(p);
    const size_t each = ceil_div(items, static_cast<size_t>(multiprocessors));
    const dim3 grid(static_cast<unsigned>(ceil_div(items, each)));
    const auto kernel = depth_contiguous ? hopper_gemm<Tile, true> : hopper_gemm<Tile, false>;
    launch("hopper_gemm", kernel, grid, dim3(Tile::kThreads), Tile::kSharedBytes, stream, p);
}

void launch_tiles(const HopperCut& cut, const HopperProduct& p, bool depth_contiguous,
                  Stream stream) {
    if (cut.rows == 192 && cut.columns == 64) {
        return launch_tile<HopperTile<192, 64>>(p, depth_contiguous, stream);
    }
    if (cut.rows == 192) return launch_tile<HopperTile<192, 192>>(p, depth_contiguous, stream);
    if (cut.columns == 256) return launch_tile<HopperTile<128, 256>>(p, depth_contiguous, stream);
    if (cut.columns == 192) return launch_tile<HopperTile<128, 192>>(p, depth_contiguous, stream);
    if (cut.columns == 128) return launch_tile<HopperTile<128, 128>>(p, depth_contiguous, stream);
    if (cut.columns == 64) return launch_tile<HopperTile<128, 64>>(p, depth_contiguous, stream);
    launch_tile<HopperTile<128, 32>>(p, depth_contiguous, stream);
}

}  // namespace

HopperCut hopper_cut(size_t m, size_t n, size_t steps) {
    HopperCut best = {};
    size_t least = SIZE_MAX;
    for (const TileSize& tile : kTiles) {
        if (!exists(tile)) continue;
        for (size_t wanted = 1; wanted <= std::min(steps, kMostSplits); ++wanted) {
            const size_t split_steps = ceil_div(steps, wanted);
            const size_t splits = ceil_div(steps, split_steps);  // none of them is empty
            const size_t needed = cycles(tile, m, n, splits, split_steps);
            if (needed >= least) continue;
            least = needed;
            best = {tile.rows, tile.columns, splits, split_steps};
        }
    }
    return best;
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

size_t hopper_workspace(const HopperCut& cut, const HopperSource& b, size_t size) {
    const size_t sums = cut.splits > 1 ? cut.splits * size * sizeof(float) : 0;
    return kAlignment + padded(b.prepared_size() * sizeof(float)) + padded(sums);
}

void run_hopper(HopperTask task, void* workspace, Stream stream) {
    HopperProduct& p = task.p;
    const size_t steps = task.b.steps(), size = task.lines * task.neighbours;
    const HopperCut cut = hopper_cut(p.m, p.n, steps);
    auto* prepared = reinterpret_cast<float*>(padded(reinterpret_cast<uintptr_t>(workspace)));
    float* sums = prepared + padded(task.b.prepared_size() * sizeof(float)) / sizeof(float);
    prepare(task.b, prepared, stream);

    p.a = task.map_a(cut.rows);
    p.b = matrix_map(prepared, task.b.rows, steps * kStepDepth, steps * kStepDepth, cut.columns);
    p.steps = static_cast<uint32_t>(steps);
    p.splits = static_cast<uint32_t>(cut.splits);
    p.split_steps = static_cast<uint32_t>(cut.split_steps);
    float* c = p.c;
    const size_t stride = p.stride;
    if (p.splits > 1) {
        p.c = sums;
        p.stride = task.neighbours;
        p.split_size = size;
    }
    launch_tiles(cut, p, task.depth_contiguous, stream);
    if (p.splits > 1) {
        launch("hopper_sum", hopper_sum, blocks_for(size), kBlockThreads, 0, stream, sums, p.splits,
               static_cast<uint32_t>(size), static_cast<uint32_t>(task.neighbours), c, stride,
               p.bias, p.relu);
    }
}

}  // namespace alexnet::cuda
