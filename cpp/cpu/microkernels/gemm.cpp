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
// holds, then the bias; the chain is the same whichever tile the element falls into.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

extern const GemmKernel gemm_kernels[];

ALEXNET_INLINE void finish_vector(Vec v, float* c, size_t first, size_t columns,
                                  const GemmEpilogue& epilogue) {
    const size_t n = columns - first;
    if (n >= kLanes) {
        if (epilogue.accumulate) v = add(load(c + first), v);
        if (epilogue.bias) v = add(v, load(epilogue.bias + first));
        if (epilogue.relu) v = relu(v);
        epilogue.stream ? stream(c + first, v) : store(c + first, v);
    } else {
        if (epilogue.accumulate) v = add(load_tail(c + first, n), v);
        if (epilogue.bias) v = add(v, load_tail(epilogue.bias + first, n));
        if (epilogue.relu) v = relu(v);
        store_tail(c + first, v, n);
    }
}

template <size_t kRows>
static void gemm_tile(const float* a, const GemmRows& rows, const float* b, float* c, size_t c_row,
                      size_t columns, const GemmEpilogue& epilogue) {
    Vec sum[kRows][2];
    for (size_t i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = zero();

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

    for (size_t i = 0; i < kRows; ++i, c += c_row) {
        finish_vector(sum[i][0], c, 0, columns, epilogue);
        if (columns > kLanes) finish_vector(sum[i][1], c, kLanes, columns, epilogue);
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
