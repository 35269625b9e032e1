// The table of micro-kernels: one instance per instruction set, filled in table.cpp, chosen at run
// time in dispatch.cpp. Pointers and block sizes stand together because they only fit together.
// Included by code of every instruction set: plain declarations only.

#ifndef ALEXNET_CPU_MICROKERNELS_KERNELS_H_
#define ALEXNET_CPU_MICROKERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace alexnet {

// A run of the summation index over which an operand advances by a fixed step: a row of a
// convolution's window, or all of a dense layer's inputs.
struct GemmSegment {
    size_t offset;  // of its first element from the tile's first
    size_t depth;   // how many products
};

// Where the A operand of a tile lies: element (i, k) of segment s is
// data[segments[s].offset + i*row_stride + k*depth_stride].
struct GemmRows {
    size_t row_stride;
    size_t depth_stride;
    const GemmSegment* segments;
    size_t segment_count;
};

// What happens to a tile of products on its way to memory.
struct GemmEpilogue {
    bool accumulate;    // add to what C holds
    const float* bias;  // one value a column, added last; null for none
    bool relu;          // max(0, .) after the bias
    bool stream;        // store past the caches; C must be aligned to a vector
};

// C[rows x columns] (+)= A[rows x depth] . B[depth x columns] on one register tile. The number of
// rows is fixed per kernel; columns <= the table's gemm_nr. B is the packed panel of gemm_nr columns
// (gemm.h), its segments one after another; row i of C starts at c + i*c_row.
using GemmKernel = void (*)(const float* a, const GemmRows& rows, const float* b, float* c,
                            size_t c_row, size_t columns, const GemmEpilogue& epilogue);

struct KernelTable {
    const char* isa;
    size_t lanes;  // floats a vector

    // gemm.cpp
    size_t gemm_mr, gemm_nr;  // register tile: gemm[r - 1] computes r <= gemm_mr rows
    const GemmKernel* gemm;

    // copy.cpp
    void (*copy)(size_t n, const float* x, float* y);
    void (*stream_fence)();  // orders streaming stores before what follows
    void (*sum_rows)(size_t rows, size_t columns, const float* x, size_t x_row, float* y);

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
