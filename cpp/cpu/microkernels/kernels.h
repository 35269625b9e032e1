// The table of micro-kernels: one instance per instruction set, filled in table.cpp, chosen at run
// time in dispatch.cpp. Pointers and block sizes stand together because they only fit together.
// Included by code of every instruction set: plain declarations only.

#ifndef ALEXNET_CPU_MICROKERNELS_KERNELS_H_
#define ALEXNET_CPU_MICROKERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace alexnet {

// What happens to a tile of products on its way to memory (gemm.cpp).
struct GemmEpilogue {
    bool accumulate;    // add to what C holds
    const float* bias;  // one value a column, added last; null for none
    bool relu;          // max(0, ·) after the bias
};

// C[rows × columns] (+)= A[rows × depth] · B[depth × columns] on one register tile. The number of
// rows is fixed per kernel; columns <= the table's nr. Element (i, k) of A is
// a[i*a_row + k*a_depth]; row k of B is the nr floats at b + k*b_depth; row i of C is at c + i*c_row.
using GemmKernel = void (*)(size_t depth, const float* a, size_t a_row, size_t a_depth,
                            const float* b, size_t b_depth, float* c, size_t c_row, size_t columns,
                            const GemmEpilogue& epilogue);

struct KernelTable {
    const char* isa;
    size_t lanes;  // floats a vector

    // gemm.cpp
    size_t gemm_mr, gemm_nr;  // register tile: gemm[r - 1] computes r <= gemm_mr rows
    size_t gemm_mc, gemm_kc;  // cache blocks: gemm_mc x gemm_kc floats of A stay in L2
    const GemmKernel* gemm;

    // copy.cpp
    void (*copy)(size_t n, const float* x, float* y);

    // relu.cpp
    void (*relu)(size_t n, const float* x, float* y);
    void (*relu_backward)(size_t n, const float* dy, const float* y, float* dx);
};

namespace avx512 {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace portable {
extern const KernelTable table;
}

}  // namespace alexnet

#endif  // ALEXNET_CPU_MICROKERNELS_KERNELS_H_
