// What a tile product of Hopper (hopper_gemm.cuh) is made of: the product as its kernels take it, the
// tile, and the items of a block's work.

#ifndef ALEXNET_CUDA_HOPPER_PRODUCT_CUH_
#define ALEXNET_CUDA_HOPPER_PRODUCT_CUH_

#include "hopper_device.cuh"
#include "storage.cuh"

namespace alexnet::cuda {

constexpr uint32_t kWarpgroup = 128;
constexpr uint32_t kRowBytes = 128;
constexpr uint32_t kPatternBytes = 1024;  // of the swizzle

// Depths of a step, as many elements as a row has: 32 of float, 64 of 16 bits.
template <class T>
constexpr uint32_t kStepDepth = kRowBytes / sizeof(T);
// Of an operand whose depths are not neighbours: a step's depths, of as many rows or columns.
template <class T>
constexpr uint32_t kBoxBytes = kStepDepth<T> * kRowBytes;

// Windows of images: A of convolutions. Depths run over taps, in each over the channels of a group,
// filled up with zeros to whole steps, `chunks` of them.
struct HopperWindows {
    uint32_t down, across;  // windows of an image
    int stride_h, stride_w, top, left;
    uint32_t taps_across, channels, chunks;
};

// T is float, multiplied in tf32, Bfloat16 or Float16.
template <class T>
struct HopperProduct {
    CUtensorMap a, b;
    uint32_t m, n, steps;
    uint32_t tap_steps;  // of them under a tap
    uint32_t last_tap;   // of b, where it has its taps in reverse; else 0
    uint32_t splits, split_steps;
    uint32_t blocks;  // of a cluster, 1 or 2: their tiles lie below each other and share one of B
    bool convolution;
    HopperWindows windows;
    T* c;
    float* gradient;  // of weights, instead of c: float for every T, with no bias and no ReLU
    size_t stride;    // elements from row to row of C or, where `transposed`, from column to column
    bool transposed;  // float alone
    float* sums;      // of splits, where there are several: C without gaps, one after the other
    size_t sum_stride;  // as `stride`
    size_t split_size;
    const float* bias;  // one for each of the neighbours in c; null: none
    bool relu;
    const T* relu_output;  // as c: where it is not positive c is 0; null: none
    bool rows_are_units;   // of A: rows of a step's channels under a tap, as depths of windows are

    // Turn a row of A into one of C; false if it is filled up with zeros.
    __device__ bool find_row(uint32_t& i) const {
        if (!rows_are_units) return true;
        const uint32_t unit = i / kStepDepth<T>, tap = unit / windows.chunks;
        const uint32_t channel = i - tap * windows.chunks * kStepDepth<T>;
        i = tap * windows.channels + channel;
        return channel < windows.channels;
    }
};

template <uint32_t rows, uint32_t columns>
struct HopperTile {
    static constexpr uint32_t kRows = rows, kColumns = columns;
    static constexpr uint32_t kConsumers = rows / 64;  // warpgroups
    static constexpr uint32_t kThreads = (kConsumers + 1) * kWarpgroup;
    static constexpr uint32_t kBytesA = rows * kRowBytes, kBytesB = columns * kRowBytes;
    static constexpr uint32_t kStageBytes = kBytesA + kBytesB;
    static constexpr uint32_t kMostStages = 200 * 1024 / kStageBytes;
    static constexpr uint32_t kStages = kMostStages < 8 ? kMostStages : 8;
    static constexpr uint32_t kSharedBytes =
        kPatternBytes + kStages * kStageBytes + 2 * kStages * sizeof(uint64_t);
    // Of the 512 registers that a lane of each warpgroup can have together.
    static constexpr int kFewRegisters = kConsumers == 2 ? 40 : 32;
    static constexpr int kManyRegisters = kConsumers == 2 ? 232 : 160;
};

// One item of a block's work: a tile, in the steps of a split. Blocks of a cluster have one number, and
// so the same steps; a tile that lies below the last row is multiplied, and not stored.
struct HopperItem {
    uint32_t row, row_end, column, split, begin, end;  // rows, first column; steps

    template <class Tile, class T>
    static __device__ HopperItem of(const HopperProduct<T>& p, uint32_t number, uint32_t rank) {
        const uint32_t across = (p.n + Tile::kColumns - 1) / Tile::kColumns;
        const uint32_t rows = p.blocks * Tile::kRows, down = (p.m + rows - 1) / rows;
        const uint32_t line = number / across, split = line / down;
        const uint32_t begin = split * p.split_steps;
        return {(line - split * down) * rows + rank * Tile::kRows,
                p.m,
                (number - line * across) * Tile::kColumns,
                split,
                begin,
                min(p.steps, begin + p.split_steps)};
    }
    // Numbers, each of an item for every block of a cluster.
    template <class Tile, class T>
    static __host__ __device__ uint32_t count(const HopperProduct<T>& p) {
        const uint32_t rows = p.blocks * Tile::kRows;
        return (p.n + Tile::kColumns - 1) / Tile::kColumns * ((p.m + rows - 1) / rows) * p.splits;
    }
};

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_PRODUCT_CUH_
