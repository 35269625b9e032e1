// The micro-kernel of every matrix product: C (MR × NR) (+)= A (MR × depth) · B (depth × NR). It is
// the body of the five loops of docs/kernels/gemm.md.
//
//                    ┌─ NR ─┐
//                    │  B   │  one row of a packed panel a step: v vectors, NR = v · kLanes
//                    └──────┘
//      ┌─ depth ─┐   ┌──────┐
//   MR │    A    │   │  C   │  the register tile: MR·v sums that stay in registers
//      └─────────┘   └──────┘
//
// A step loads one row of B (v vectors), broadcasts MR elements of A, and does MR·v fused
// multiply-adds. A is read where it lies, by strides and segments (kernels.h): a convolution needs
// no im2col buffer.
//
// Cost of a step: MR + v loads for MR·v FMAs, so that the FMA units are the bound as long as B's
// panel comes from L1 or L2 and A's rows from L1. Two threads of one core share its front end, too:
// then the instructions that are no FMAs count, and tiles of 6 × 4 and 9 × 3 vectors have the
// fewest.
// Registers: MR·v sums, v for B, 1 for A, of 32 with AVX-512 and 16 elsewhere.
// Numerics: each element of C is one chain of FMAs in the order of k, then the sum with what C
// holds, then the bias; the chain is the same whichever tile the element falls into, and however
// it was interrupted and resumed. A NaN is always the same one, whatever it came from.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

extern const GemmTiles gemm_tiles;

// Lanes of the j-th vector of a row of C, or of the bias. `full` says that all of them are there.
ALEXNET_INLINE size_t lanes(size_t j, size_t columns) {
    return columns - j * kLanes < kLanes ? columns - j * kLanes : kLanes;
}

template <bool full>
ALEXNET_INLINE Vec load_part(const float* row, size_t j, size_t columns) {
    return full ? load(row + j * kLanes) : load_tail(row + j * kLanes, lanes(j, columns));
}

template <bool full>
ALEXNET_INLINE void store_part(float* row, size_t j, size_t columns, Vec x) {
    full ? store(row + j * kLanes, x) : store_tail(row + j * kLanes, x, lanes(j, columns));
}

// Of two NaNs an instruction passes on one, by an order of its operands that the compiler chooses
// for each tile: which tile an element falls into would show in its bits.
template <size_t kRows, size_t kVectors>
ALEXNET_INLINE void unify_nans(Vec (&sum)[kRows][kVectors]) {
    constexpr size_t kCount = kRows * kVectors;
    Mask found = is_nan(sum[0][0], sum[(kCount - 1) / kVectors][(kCount - 1) % kVectors]);
#pragma GCC unroll 32
    for (size_t i = 1; i + 1 < kCount; i += 2) {
        const size_t next = i + 2 < kCount ? i + 1 : i;
        found = either(
            found, is_nan(sum[i / kVectors][i % kVectors], sum[next / kVectors][next % kVectors]));
    }
    if (!any(found)) return;
    const Vec nan = broadcast(__builtin_nanf(""));
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (size_t j = 0; j < kVectors; ++j) {
            sum[i][j] = select(is_nan(sum[i][j], sum[i][j]), nan, sum[i][j]);
        }
    }
}

// The sums of a tile on their way to memory, a loop a step, unrolled so that they stay in
// registers.
template <size_t kRows, size_t kVectors, bool full>
ALEXNET_INLINE void finish_tile(float* c, size_t c_row, size_t columns,
                                const GemmEpilogue& epilogue, Vec (&sum)[kRows][kVectors]) {
    if (epilogue.accumulate) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
            for (size_t j = 0; j < kVectors; ++j) {
                sum[i][j] = add(load_part<full>(c + i * c_row, j, columns), sum[i][j]);
            }
        }
    }
    if (epilogue.bias) {
#pragma GCC unroll 4
        for (size_t j = 0; j < kVectors; ++j) {
            const Vec bias = load_part<full>(epilogue.bias, j, columns);
#pragma GCC unroll 16
            for (size_t i = 0; i < kRows; ++i) sum[i][j] = add(sum[i][j], bias);
        }
    }
    if (epilogue.relu) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
            for (size_t j = 0; j < kVectors; ++j) sum[i][j] = relu(sum[i][j]);
        }
    }
    if (!epilogue.partial) unify_nans(sum);
    const bool streams = full && epilogue.stream;
#pragma GCC unroll 16
    for (size_t i = 0; streams && i < kRows; ++i) {
#pragma GCC unroll 4
        for (size_t j = 0; j < kVectors; ++j) stream(c + i * c_row + j * kLanes, sum[i][j]);
    }
    if (streams) return;
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (size_t j = 0; j < kVectors; ++j) {
            store_part<full>(c + i * c_row, j, columns, sum[i][j]);
        }
    }
}

// The products of one segment, or of a part of it. One pointer serves three rows of A: base,
// base + stride and base + 2·stride are addressing modes of x86, so that fourteen rows cost five
// registers instead of fourteen.
template <size_t kRows, size_t kVectors>
ALEXNET_INLINE void add_products(const float* a, const GemmRows& rows, size_t depth, const float* b,
                                 Vec (&sum)[kRows][kVectors]) {
    constexpr size_t kGroups = (kRows + 2) / 3;
    const size_t row_stride = rows.row_stride, depth_stride = rows.depth_stride, b_row = rows.b_row;
    const float* group[kGroups];
    for (size_t g = 0; g < kGroups; ++g) group[g] = a + 3 * g * row_stride;
    for (size_t k = depth; k > 0; --k) {
        Vec bk[kVectors];
#pragma GCC unroll 4
        for (size_t j = 0; j < kVectors; ++j) bk[j] = load(b + j * kLanes);
        b += b_row;
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
            const Vec ai = broadcast(group[i / 3][(i % 3) * row_stride]);
#pragma GCC unroll 4
            for (size_t j = 0; j < kVectors; ++j) sum[i][j] = fma(ai, bk[j], sum[i][j]);
        }
        for (size_t g = 0; g < kGroups; ++g) group[g] += depth_stride;
    }
}

// The products of a segment, and between them the prefetches that fall to this tile.
template <size_t kRows, size_t kVectors>
ALEXNET_INLINE void add_products_and_prefetch(const float* a, const GemmRows& rows,
                                              const GemmSegment& segment, const float* b,
                                              Vec (&sum)[kRows][kVectors]) {
    const size_t intervals = (segment.depth + kPrefetchInterval - 1) / kPrefetchInterval;
    const float* prefetch_from =
        segment.prefetch_from ? segment.prefetch_from : b + rows.prefetch_distance;
    prefetch_from += rows.tile * intervals * rows.prefetch_lines * kLineFloats;
    a += segment.offset;
    for (size_t depth = segment.depth; depth > 0;) {
        const size_t steps = depth < kPrefetchInterval ? depth : kPrefetchInterval;
        for (size_t line = 0; line < rows.prefetch_lines; ++line) {
            __builtin_prefetch(prefetch_from, 0, 2);
            prefetch_from += kLineFloats;
        }
        add_products<kRows, kVectors>(a, rows, steps, b, sum);
        a += steps * rows.depth_stride;
        b += steps * rows.b_row;
        depth -= steps;
    }
}

template <size_t kRows, size_t kVectors, bool full>
ALEXNET_INLINE void multiply_tile(const float* a, const GemmRows& rows, const float* b, float* c,
                                  size_t c_row, size_t columns, const GemmEpilogue& epilogue) {
    // Prefetch the part of C that the sums are written or added to.
    for (size_t i = 0; !epilogue.stream && i < kRows; ++i) {
        for (size_t j = 0; j < kVectors; ++j) __builtin_prefetch(c + i * c_row + j * kLanes, 1);
    }
    Vec sum[kRows][kVectors];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (size_t j = 0; j < kVectors; ++j) sum[i][j] = zero();
    }
    if (epilogue.resume) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
            for (size_t j = 0; j < kVectors; ++j) {
                sum[i][j] = load_part<full>(c + i * c_row, j, columns);
            }
        }
    }
    for (size_t s = 0; s < rows.segment_count; ++s) {
        const GemmSegment& segment = rows.segments[s];
        if (rows.prefetch_lines > 0) {
            add_products_and_prefetch<kRows, kVectors>(a, rows, segment, b, sum);
        } else {
            add_products<kRows, kVectors>(a + segment.offset, rows, segment.depth, b, sum);
        }
        b += segment.depth * rows.b_row;
    }
    finish_tile<kRows, kVectors, full>(c, c_row, columns, epilogue, sum);
}

// Tiles at C's right edge take masks where the columns do not fill their vectors.
template <size_t kVectors, size_t kRows>
static void gemm_tile(const float* a, const GemmRows& rows, const float* b, float* c, size_t c_row,
                      size_t columns, const GemmEpilogue& epilogue) {
    if (columns == kVectors * kLanes) {
        multiply_tile<kRows, kVectors, true>(a, rows, b, c, c_row, columns, epilogue);
    } else {
        multiply_tile<kRows, kVectors, false>(a, rows, b, c, c_row, columns, epilogue);
    }
}

#if defined(ALEXNET_ISA_AVX512)
template <size_t v>
static constexpr GemmKernel up_to_14[] = {
    gemm_tile<v, 1>,  gemm_tile<v, 2>,  gemm_tile<v, 3>,  gemm_tile<v, 4>, gemm_tile<v, 5>,
    gemm_tile<v, 6>,  gemm_tile<v, 7>,  gemm_tile<v, 8>,  gemm_tile<v, 9>, gemm_tile<v, 10>,
    gemm_tile<v, 11>, gemm_tile<v, 12>, gemm_tile<v, 13>, gemm_tile<v, 14>};
static constexpr GemmKernel up_to_9[] = {gemm_tile<3, 1>, gemm_tile<3, 2>, gemm_tile<3, 3>,
                                         gemm_tile<3, 4>, gemm_tile<3, 5>, gemm_tile<3, 6>,
                                         gemm_tile<3, 7>, gemm_tile<3, 8>, gemm_tile<3, 9>};
static constexpr GemmKernel up_to_6[] = {gemm_tile<4, 1>, gemm_tile<4, 2>, gemm_tile<4, 3>,
                                         gemm_tile<4, 4>, gemm_tile<4, 5>, gemm_tile<4, 6>};
static constexpr size_t tile_rows[] = {14, 14, 9, 6};
static constexpr const GemmKernel* tile_kernels[] = {up_to_14<1>, up_to_14<2>, up_to_9, up_to_6};
#else
template <size_t v>
static constexpr GemmKernel up_to_6[] = {gemm_tile<v, 1>, gemm_tile<v, 2>, gemm_tile<v, 3>,
                                         gemm_tile<v, 4>, gemm_tile<v, 5>, gemm_tile<v, 6>};
static constexpr size_t tile_rows[] = {6, 6};
static constexpr const GemmKernel* tile_kernels[] = {up_to_6<1>, up_to_6<2>};
#endif
const GemmTiles gemm_tiles = {
    .vectors = sizeof tile_rows / sizeof tile_rows[0], .rows = tile_rows, .kernels = tile_kernels};

}  // namespace alexnet::ALEXNET_ISA
