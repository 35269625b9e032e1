// Inference in bfloat16: convolutions and dense layers whose operands are rounded to bfloat16 (the
// upper half of a float32), to nearest, ties to even; products, sums, bias and ReLU are in float32.
// docs/kernels/bfloat16.md has layouts, instructions and the bound of the error.

#ifndef ALEXNET_BFLOAT16_H_
#define ALEXNET_BFLOAT16_H_

#include <cstdint>

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/max_pool2d.h"
#include "alexnet/size.h"

namespace alexnet::cpu {

// An array that is read, float32 or the bits of bfloat16: the other pointer is null.
struct Bf16Input {
    const float* floats = nullptr;
    const uint16_t* bits = nullptr;
};

// The same for one that is written.
struct Bf16Output {
    float* floats = nullptr;
    uint16_t* bits = nullptr;
};

// Weights are read from a packed copy, the same for every instruction set. Of `shape` the batch and
// what belongs to images do not matter. `packed` is aligned to a cache line.
Size packed_dense_bf16_size(const DenseShape& shape);  // elements of 16 bits
void pack_dense_bf16(const DenseShape& shape, const Bf16Input& weight, uint16_t* packed);
Size packed_conv2d_bf16_size(const Conv2dShape& shape);
void pack_conv2d_bf16(const Conv2dShape& shape, const Bf16Input& weight, uint16_t* packed);

// As `dense` and `conv2d`; bias may be null.
void dense_bf16(const DenseShape& shape, const Bf16Input& x, const uint16_t* packed,
                const float* bias, bool relu, const Bf16Output& y);
void conv2d_bf16(const Conv2dShape& shape, const Bf16Input& x, const uint16_t* packed,
                 const float* bias, bool relu, const Bf16Output& y);

// As `max_pool2d`, of the bits of bfloat16: to round before or after is the same.
void max_pool2d_bf16(const Pool2dShape& shape, const uint16_t* x, uint16_t* y);

// The one of the other, to the same bits; `pool` is of the convolution's result, which goes through
// memory only where there are fewer images than threads can share.
void conv2d_max_pool2d_bf16(const Conv2dShape& shape, const Pool2dShape& pool, const Bf16Input& x,
                            const uint16_t* packed, const float* bias, bool relu, uint16_t* y);

}  // namespace alexnet::cpu

#endif  // ALEXNET_BFLOAT16_H_
