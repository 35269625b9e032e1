// The micro-kernels of one instruction set, gathered into its table (kernels.h says what each is).

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// Defined in the file of the same name in this folder.
extern const GemmKernel gemm_kernels[];
void copy(size_t n, const float* x, float* y);
void stream_fence();
void sum_rows(size_t rows, size_t columns, const float* x, size_t x_row, float* y);
void relu(size_t n, const float* x, float* y);
void relu_backward(size_t n, const float* dy, const float* y, float* dx);

#define ALEXNET_QUOTE_(x) #x
#define ALEXNET_QUOTE(x) ALEXNET_QUOTE_(x)

extern const KernelTable table;
const KernelTable table = {
    ALEXNET_QUOTE(ALEXNET_ISA),
    kLanes,
#if defined(ALEXNET_ISA_AVX512)
    14,  // gemm_mr
    32,  // gemm_nr
#else
    6,           // gemm_mr
    2 * kLanes,  // gemm_nr
#endif
    gemm_kernels,
    copy,
    stream_fence,
    sum_rows,
    relu,
    relu_backward,
};

}  // namespace alexnet::ALEXNET_ISA
