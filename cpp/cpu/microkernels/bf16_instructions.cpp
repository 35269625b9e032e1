// Products of bfloat16 operands by the instructions made for them, which the rest of the AVX-512
// micro-kernels must not use: a processor may have AVX-512 and not these. Both flush subnormal
// numbers to 0, operands and sums, and round to nearest whatever the caller has set.

#include "simd_bf16.h"

#if defined(ALEXNET_BF16_INSTRUCTIONS)

namespace alexnet::ALEXNET_ISA {

// --- AVX512-BF16: vdpbf16ps adds two products to each of 16 sums -----------------------------------

#define ALEXNET_DOT __attribute__((target("avx512bf16")))

constexpr size_t kVectors = kBf16Columns / kLanes;
constexpr size_t kSums = 16, kMostRows = 8;
constexpr size_t kPrefetchElements = 4096;  // of B, ahead
constexpr size_t kLineElements = kLineBytes / sizeof(uint16_t);

// kRows rows of a tile, from first_row on. Few rows have several sums for each element, so that additions need not
// wait for each other.
template <size_t kRows>
ALEXNET_DOT static void multiply_rows(const Bf16Block& block, const Bf16Tile& tile,
                                      size_t first_row) {
    constexpr size_t kChains = kSums / (kRows * kVectors);
    Vec sum[kChains][kRows][kVectors];
#pragma GCC unroll 8
    for (size_t chain = 0; chain < kChains; ++chain) {
#pragma GCC unroll 8
        for (size_t i = 0; i < kRows; ++i) {
            for (size_t j = 0; j < kVectors; ++j) sum[chain][i][j] = _mm512_setzero_ps();
        }
    }
    const uint16_t* b = block.b;
    for (size_t s = 0; s < block.steps; ++s) {
        const Bf16Operand a = operand(block, tile, s);
        const uint16_t* from = a.a + first_row * a.row;
        for (size_t k = 0; k < kBf16Depth; k += 2 * kChains) {
#pragma GCC unroll 8
            for (size_t chain = 0; chain < kChains; ++chain) {
                __m512i weight[kVectors];
                for (size_t j = 0; j < kVectors; ++j) {
                    weight[j] = _mm512_loadu_si512(b + j * kBf16Half);
                    __builtin_prefetch(b + j * kBf16Half + kPrefetchElements);
                }
#pragma GCC unroll 8
                for (size_t i = 0; i < kRows; ++i) {
                    uint32_t pair;
                    __builtin_memcpy(&pair, from + i * a.row + k + 2 * chain, sizeof pair);
                    const __m512i x = _mm512_set1_epi32(static_cast<int>(pair));
                    for (size_t j = 0; j < kVectors; ++j) {
                        sum[chain][i][j] =
                            _mm512_dpbf16_ps(sum[chain][i][j], (__m512bh)x, (__m512bh)weight[j]);
                    }
                }
                b += 2 * kLanes;
            }
        }
        b += kBf16Half;
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < kRows; ++i) {
        for (size_t j = 0; j < kVectors; ++j) {
#pragma GCC unroll 8
            for (size_t chain = 1; chain < kChains; ++chain) {
                sum[0][i][j] = _mm512_add_ps(sum[0][i][j], sum[chain][i][j]);
            }
            store_sums(block, tile, first_row + i, j * kLanes, sum[0][i][j]);
        }
    }
}

void multiply_dot(const Bf16Block& block) {
    for (size_t t = 0; t < block.tile_count; ++t) {
        const Bf16Tile& tile = block.tiles[t];
        for (size_t i = 0; i < block.rows;) {
            const size_t rest = block.rows - i;
            if (rest >= 8) {
                multiply_rows<8>(block, tile, i);
                i += 8;
            } else if (rest >= 4) {
                multiply_rows<4>(block, tile, i);
                i += 4;
            } else if (rest >= 2) {
                multiply_rows<2>(block, tile, i);
                i += 2;
            } else {
                multiply_rows<1>(block, tile, i);
                i += 1;
            }
        }
    }
}

// --- AMX: tiles of 16 rows of 64 bytes; an instruction adds 16 × 16 × 32 products ------------------

#define ALEXNET_TILE __attribute__((target("amx-tile,amx-bf16,avx512bf16")))

constexpr size_t kFartherElements = 16384;  // as kPrefetchElements, of whole tiles
constexpr size_t kFewRows = 4;              // up to here the tiles would be mostly empty

struct TileConfiguration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

// Registers: sums 0 1 / 2 3, two tiles of A 4 5, two halves of a panel of B 6 7.
static TileConfiguration configuration(size_t rows) {
    TileConfiguration tiles;
    for (size_t i = 0; i < 8; ++i) {
        tiles.row_bytes[i] = kLineBytes;
        tiles.rows[i] = static_cast<uint8_t>(i < 6 ? rows : kBf16Rows);
    }
    return tiles;
}

constexpr size_t kSecondSums = kBf16Rows * kBf16Columns;  // from one tile's to the other's
constexpr size_t kTwoSums = 2 * kSecondSums;

// Sums of one or two tiles on their way to the result.
class Leaving {
  public:
    explicit Leaving(const Bf16Block& block)
        : block_(block), is_line_(block.c_bits && block.columns == kBf16Columns) {}

    // Where the next sums go: not where those are that leave.
    float* next_sums() { return sums_ == buffers_[0] ? buffers_[1] : buffers_[0]; }

    ALEXNET_TILE void begin(const Bf16Tile* tiles, size_t count, const float* sums) {
        store_all();  // what is left of those before
        tiles_ = tiles;
        sums_ = sums;
        row_ = 0;
        rows_ = count * block_.rows;
    }
    ALEXNET_TILE void store_rows(size_t rows) {
        const size_t end = rows < rows_ - row_ ? row_ + rows : rows_;
        for (; row_ < end; ++row_) {
            const bool second = row_ >= block_.rows;
            const size_t i = second ? row_ - block_.rows : row_;
            const float* from = sums_ + (second ? kSecondSums : 0) + i * kBf16Columns;
            if (is_line_) {
                store_line(tiles_[second], i, load(from), load(from + kLanes));
            } else {
                store_sums(block_, tiles_[second], i, 0, load(from));
                store_sums(block_, tiles_[second], i, kLanes, load(from + kLanes));
            }
        }
    }
    ALEXNET_TILE void store_all() { store_rows(rows_); }

  private:
    // As store_sums, of a whole panel in bfloat16, which is a cache line. The instruction that rounds
    // takes subnormal numbers for 0, so that these, which hardly ever come, are rounded without it.
    ALEXNET_TILE void store_line(const Bf16Tile& tile, size_t row, Vec first, Vec second) const {
        if (tile.c_rows[row] == kBf16NoRow) return;
        if (block_.bias) {
            first = add(first, load(block_.bias));
            second = add(second, load(block_.bias + kLanes));
        }
        if (block_.relu) {
            first = relu(first);
            second = relu(second);
        }
        __m512i line = (__m512i)_mm512_cvtne2ps_pbh(second, first);
        constexpr int kSubnormal = 0x20;
        if (_mm512_fpclass_ps_mask(first, kSubnormal) |
            _mm512_fpclass_ps_mask(second, kSubnormal)) {
            line = _mm512_inserti64x4(_mm512_castsi256_si512(to_bf16(first)), to_bf16(second), 1);
        }
        _mm512_storeu_si512(block_.c_bits + tile.c + tile.c_rows[row], line);
    }

    const Bf16Block& block_;
    bool is_line_;
    const Bf16Tile* tiles_ = nullptr;
    const float* sums_ = nullptr;
    size_t row_ = 0, rows_ = 0;
    alignas(kLineBytes) float buffers_[2][kTwoSums];
};

// The intrinsics do not tell the compiler what memory they read: this does, of all of it.
#define ALEXNET_MEMORY_IS_READ(pointer) __asm__ volatile("" ::"r"(pointer) : "memory")

constexpr size_t kSumRowBytes = kBf16Columns * sizeof(float);

template <bool kTwo>
ALEXNET_TILE static void store_registers(float* sums) {
    _tile_stored(0, sums, kSumRowBytes);
    _tile_stored(1, sums + kLanes, kSumRowBytes);
    if (kTwo) {
        _tile_stored(2, sums + kSecondSums, kSumRowBytes);
        _tile_stored(3, sums + kSecondSums + kLanes, kSumRowBytes);
    }
    ALEXNET_MEMORY_IS_READ(sums);
}

// Lines that are asked for before they are read, some at each step.
struct Prefetch {
    const uint16_t* next;
    size_t lines, lines_a_step;

    void step() {
        const size_t count = lines < lines_a_step ? lines : lines_a_step;
        for (size_t i = 0; i < count; ++i, next += kLineElements) {
            __builtin_prefetch(next, 0, 2);
        }
        lines -= count;
    }
};

// One tile of A, or two, by the panel. B passes by the L1 cache, which has A. Between the steps
// earlier sums leave.
template <bool kTwo>
ALEXNET_TILE static void multiply_tiles(const Bf16Block& block, const Bf16Tile* tile,
                                        Prefetch& prefetch, Leaving& leaving) {
    // Sums that were just stored are not read at once: that would wait for the stores.
    const size_t wait = block.steps / 4, leaving_steps = block.steps - wait;
    const size_t rows_a_step = (2 * block.rows + leaving_steps - 1) / leaving_steps;
    const uint16_t* b = block.b;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t s = 0; s < block.steps; ++s) {
        prefetch.step();
        const Bf16Operand first = operand(block, tile[0], s);
        _tile_stream_loadd(6, b, kLineBytes);
        _tile_loadd(4, first.a, first.row * sizeof(uint16_t));
        _tile_dpbf16ps(0, 4, 6);
        _tile_stream_loadd(7, b + kBf16Half, kLineBytes);
        _tile_dpbf16ps(1, 4, 7);
        if (kTwo) {
            const Bf16Operand second = operand(block, tile[1], s);
            _tile_loadd(5, second.a, second.row * sizeof(uint16_t));
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        b += 2 * kBf16Half;
        if (s >= wait) leaving.store_rows(rows_a_step);
    }
    float* sums = leaving.next_sums();
    store_registers<kTwo>(sums);
    leaving.begin(tile, kTwo ? 2 : 1, sums);
}

ALEXNET_TILE void multiply_tile(const Bf16Block& block) {
    if (block.rows <= kFewRows) return multiply_dot(block);
    alignas(kLineBytes) TileConfiguration tiles = configuration(block.rows);
    ALEXNET_MEMORY_IS_READ(&tiles);
    _tile_loadconfig(&tiles);
    Leaving leaving(block);
    const size_t pairs = (block.tile_count + 1) / 2;
    constexpr size_t kStepLines = 2 * kBf16Half / kLineElements;
    Prefetch prefetch{.next = block.next,
                      .lines = block.next ? block.steps * kStepLines : 0,
                      .lines_a_step = (kStepLines + pairs - 1) / pairs};
    // A panel that is read once comes from memory.
    if (pairs == 1) {
        prefetch = {.next = block.b + kFartherElements,
                    .lines = block.steps * kStepLines,
                    .lines_a_step = kStepLines};
    }
    size_t t = 0;
    for (; t + 2 <= block.tile_count; t += 2) {
        multiply_tiles<true>(block, block.tiles + t, prefetch, leaving);
    }
    if (t < block.tile_count) multiply_tiles<false>(block, block.tiles + t, prefetch, leaving);
    leaving.store_all();
    _tile_release();
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_BF16_INSTRUCTIONS
