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

// One of the two vectors of a row of C, or of the bias. `full` says that all 2 · kLanes columns are
// there.
struct Part {
    size_t offset, lanes;
};

ALEXNET_INLINE Part part(size_t j, size_t columns) {
    const size_t offset = j * kLanes < columns ? j * kLanes : columns;
    return {offset, columns - offset < kLanes ? columns - offset : kLanes};
}

template <bool full>
ALEXNET_INLINE Vec load_part(const float* row, size_t j, size_t columns) {
    const Part p = part(j, columns);
    return full ? load(row + j * kLanes) : load_tail(row + p.offset, p.lanes);
}

// A tile of C on its way in and out, a loop a step, unrolled so that the sums stay in registers.
template <size_t kRows, bool full>
ALEXNET_INLINE void load_tile(const float* c, size_t c_row, size_t columns, Vec (&sum)[kRows][2]) {
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
        sum[i][0] = load_part<full>(c + i * c_row, 0, columns);
        sum[i][1] = load_part<full>(c + i * c_row, 1, columns);
    }
}

template <size_t kRows, bool full>
ALEXNET_INLINE void finish_tile(float* c, size_t c_row, size_t columns,
                                const GemmEpilogue& epilogue, Vec (&sum)[kRows][2]) {
    if (epilogue.accumulate) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
            sum[i][0] = add(load_part<full>(c + i * c_row, 0, columns), sum[i][0]);
            sum[i][1] = add(load_part<full>(c + i * c_row, 1, columns), sum[i][1]);
        }
    }
    if (epilogue.bias) {
        const Vec bias0 = load_part<full>(epilogue.bias, 0, columns);
        const Vec bias1 = load_part<full>(epilogue.bias, 1, columns);
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
            sum[i][0] = add(sum[i][0], bias0);
            sum[i][1] = add(sum[i][1], bias1);
        }
    }
    if (epilogue.relu) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
            sum[i][0] = relu(sum[i][0]);
            sum[i][1] = relu(sum[i][1]);
        }
    }
    if (full && epilogue.stream) {
#pragma GCC unroll 16
        for (size_t i = 0; i < kRows; ++i) {
            stream(c + i * c_row, sum[i][0]);
            stream(c + i * c_row + kLanes, sum[i][1]);
        }
        return;
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
        for (size_t j = 0; j < 2; ++j) {
            const Part p = part(j, columns);
            float* row = c + i * c_row;
            full ? store(row + j * kLanes, sum[i][j])
                 : store_tail(row + p.offset, sum[i][j], p.lanes);
        }
    }
}

template <size_t kRows>
static void gemm_tile(const float* a, const GemmRows& rows, const float* b, float* c, size_t c_row,
                      size_t columns, const GemmEpilogue& epilogue) {
    const bool full = columns == 2 * kLanes;
    // What is added to comes while the products are summed.
    for (size_t i = 0; epilogue.accumulate && i < kRows; ++i) {
        __builtin_prefetch(c + i * c_row, 1);
        __builtin_prefetch(c + i * c_row + kLanes, 1);
    }
    Vec sum[kRows][2];
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = zero();
    if (epilogue.resume) {
        full ? load_tile<kRows, true>(c, c_row, columns, sum)
             : load_tile<kRows, false>(c, c_row, columns, sum);
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
        for (size_t k = rows.segments[s].depth; k > 0; --k) {
            const Vec b0 = load(b);
            const Vec b1 = load(b + kLanes);
            for (size_t j = 0; j < 2; ++j) __builtin_prefetch(b + kAhead + j * kLanes, 0, 2);
            b += 2 * kLanes;
#pragma GCC unroll 16
            for (size_t i = 0; i < kRows; ++i) {
                const Vec ai = broadcast(group[i / 3][(i % 3) * row_stride]);
                sum[i][0] = fma(ai, b0, sum[i][0]);
                sum[i][1] = fma(ai, b1, sum[i][1]);
            }
            for (size_t g = 0; g < kGroups; ++g) group[g] += depth_stride;
        }
    }

    full ? finish_tile<kRows, true>(c, c_row, columns, epilogue, sum)
         : finish_tile<kRows, false>(c, c_row, columns, epilogue, sum);
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
