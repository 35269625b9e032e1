// What the micro-kernels of bfloat16 products share: their names, and the way of sums to memory.

#ifndef ALEXNET_CPU_MICROKERNELS_BF16_KERNELS_H_
#define ALEXNET_CPU_MICROKERNELS_BF16_KERNELS_H_

#include "simd_bf16.h"

// Whether the compiler knows the instructions of AVX512-BF16 and AMX.
#if defined(__clang__)
#define ALEXNET_BF16_COMPILER (__clang_major__ >= 12)
#else
#define ALEXNET_BF16_COMPILER (__GNUC__ >= 11)
#endif
#if defined(ALEXNET_ISA_AVX512) && ALEXNET_BF16_COMPILER
#define ALEXNET_BF16_INSTRUCTIONS
#endif

namespace alexnet::ALEXNET_ISA {

void multiply_widening(const Bf16Block& block);
#if defined(ALEXNET_BF16_INSTRUCTIONS)
void multiply_dot(const Bf16Block& block);
void multiply_tile(const Bf16Block& block);
#endif

// Sums of one vector of columns, from `column` of the panel on, to a row of the result.
ALEXNET_INLINE void store_sums(const Bf16Block& block, size_t row, size_t column, Vec sums) {
    if (column >= block.columns) return;
    const size_t n = block.columns - column;
    if (block.bias) sums = add(sums, load_upto(block.bias + column, n));
    if (block.relu) sums = relu(sums);
    if (block.c) {
        store_upto(block.c + row + column, sums, n);
    } else {
        store_bf16_upto(block.c_bits + row + column, sums, n);
    }
}

}  // namespace alexnet::ALEXNET_ISA

#endif  // ALEXNET_CPU_MICROKERNELS_BF16_KERNELS_H_
