// The register tile of every matrix product: C[r × n] (+)= A[r × depth] · B[depth × n].
//
// r rows and 2 vectors of columns of C stay in registers over the whole depth. A step loads one row
// of B (2 vectors), broadcasts r elements of A, and does 2·r fused multiply-adds. A is read where
// it lies, by strides and segments (kernels.h): a convolution needs no im2col buffer.
//
// Cost of a step: 2·r·nr FLOP; r + 2 loads for 2·r FMAs, so that with r >= 6 the FMA units are the
// bound as long as B's panel comes from L1 or L2 and A's rows from L1.
// Registers: 2·r accumulators, 2 for B, 1 for A: r <= 14 of 32 with AVX-512, 6 of 16 elsewhere.
// Numerics: each element of C is one chain of FMAs in the order of k, then the sum with what C
// holds, then the bias; the chain is the same whichever tile the element falls into, and however
// it was interrupted and resumed.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

extern const GemmKernel gemm_kernels[];

// B is fetched into L2 so many floats ahead: it may come from L3, one panel after the other, and
// hardware stops its own fetching at the end of each page.
constexpr size_t kAhead = 192 * 2 * kLanes;

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

// The sums of a tile on their way to memory, a loop a step, unrolled so that they stay in
// registers.
template <size_t kRows, size_t kVectors, bool full>
ALEXNET_INLINE void finish_tile(float* c, size_t c_row, size_t columns,
                                const GemmEpilogue& epilogue, Vec (&sum)[kRows][kVectors]) {
    if (epilogue.accumulate) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
            for (size_t j = 0; j < kVectors; ++j) {
                sum[i][j] = add(load_part<full>(c + i * c_row, j, columns), sum[i][j]);
            }
        }
    }
    if (epilogue.bias) {
#pragma GCC unroll 2
        for (size_t j = 0; j < kVectors; ++j) {
            const Vec bias = load_part<full>(epilogue.bias, j, columns);
#pragma GCC unroll 16
            for (size_t i = 0; i < kRows; ++i) sum[i][j] = add(sum[i][j], bias);
        }
    }
    if (epilogue.relu) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
            for (size_t j = 0; j < kVectors; ++j) sum[i][j] = relu(sum[i][j]);
        }
    }
    const bool streams = full && epilogue.stream;
#pragma GCC unroll 16
    for (size_t i = 0; streams && i < kRows; ++i) {
#pragma GCC unroll 2
        for (size_t j = 0; j < kVectors; ++j) stream(c + i * c_row + j * kLanes, sum[i][j]);
    }
    if (streams) return;
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
        for (size_t j = 0; j < kVectors; ++j) {
            store_part<full>(c + i * c_row, j, columns, sum[i][j]);
        }
    }
}

template <size_t kRows, size_t kVectors, bool full>
static void multiply_tile(const float* a, const GemmRows& rows, const float* b, float* c,
                          size_t c_row, size_t columns, const GemmEpilogue& epilogue) {
    // What the sums are written to, or added to, comes while the products are summed.
    for (size_t i = 0; !epilogue.stream && i < kRows; ++i) {
        for (size_t j = 0; j < kVectors; ++j) __builtin_prefetch(c + i * c_row + j * kLanes, 1);
    }
    Vec sum[kRows][kVectors];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
        for (size_t j = 0; j < kVectors; ++j) sum[i][j] = zero();
    }
    if (epilogue.resume) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
            for (size_t j = 0; j < kVectors; ++j) {
                sum[i][j] = load_part<full>(c + i * c_row, j, columns);
            }
        }
    }

    // Rows in groups of three behind one pointer each: base, base + stride, base + 2·stride are
    // addressing modes of x86, so that fourteen rows cost five registers instead of fourteen.
    constexpr size_t kGroups = (kRows + 2) / 3;
    const size_t row_stride = rows.row_stride;
    const size_t depth_stride = rows.depth_stride;
    for (size_t s = 0; s < rows.segment_count; ++s) {
        const float* group[kGroups];
        for (size_t g = 0; g < kGroups; ++g) {
            group[g] = a + rows.segments[s].offset + 3 * g * row_stride;
        }
        const float* meanwhile = rows.segments[s].meanwhile;
        if (!meanwhile) meanwhile = b + kAhead;
        for (size_t k = rows.segments[s].depth; k > 0; --k) {
            Vec bk[kVectors];
#pragma GCC unroll 2
            for (size_t j = 0; j < kVectors; ++j) {
                bk[j] = load(b + j * kLanes);
                __builtin_prefetch(meanwhile + j * kLanes, 0, 2);
            }
            b += 2 * kLanes;
            meanwhile += 2 * kLanes;
#pragma GCC unroll 16
            for (size_t i = 0; i < kRows; ++i) {
                const Vec ai = broadcast(group[i / 3][(i % 3) * row_stride]);
#pragma GCC unroll 2
                for (size_t j = 0; j < kVectors; ++j) sum[i][j] = fma(ai, bk[j], sum[i][j]);
            }
            for (size_t g = 0; g < kGroups; ++g) group[g] += depth_stride;
        }
    }
    finish_tile<kRows, kVectors, full>(c, c_row, columns, epilogue, sum);
}

// Tiles at C's right edge take one vector where that is enough, and masks where it is too much.
template <size_t kRows>
static void gemm_tile(const float* a, const GemmRows& rows, const float* b, float* c, size_t c_row,
                      size_t columns, const GemmEpilogue& epilogue) {
    if (columns == 2 * kLanes) {
        multiply_tile<kRows, 2, true>(a, rows, b, c, c_row, columns, epilogue);
    } else if (columns > kLanes) {
        multiply_tile<kRows, 2, false>(a, rows, b, c, c_row, columns, epilogue);
    } else if (columns == kLanes) {
        multiply_tile<kRows, 1, true>(a, rows, b, c, c_row, columns, epilogue);
    } else {
        multiply_tile<kRows, 1, false>(a, rows, b, c, c_row, columns, epilogue);
    }
}

#if defined(ALEXNET_ISA_AVX512)
const GemmKernel gemm_kernels[] = {gemm_tile<1>,  gemm_tile<2>,  gemm_tile<3>,  gemm_tile<4>,
                                   gemm_tile<5>,  gemm_tile<6>,  gemm_tile<7>,  gemm_tile<8>,
                                   gemm_tile<9>,  gemm_tile<10>, gemm_tile<11>, gemm_tile<12>,
                                   gemm_tile<13>, gemm_tile<14>};
#else
const GemmKernel gemm_kernels[] = {gemm_tile<1>, gemm_tile<2>, gemm_tile<3>,
                                   gemm_tile<4>, gemm_tile<5>, gemm_tile<6>};
#endif

}  // namespace alexnet::ALEXNET_ISA
