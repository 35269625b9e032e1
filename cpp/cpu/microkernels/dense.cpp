// A few rows of a dense layer's weights times as many inputs: y[j] += sum over r of x[r] · w[r][j].
//
// With one image, or a few, packing the weights for the register tile of gemm.cpp would cost more
// than the product. Here eight rows at a time are read in place, each in one long run as memory
// likes it, and y goes through registers once for all eight.
//
// Cost: 2 FLOP and 4 bytes a weight: memory-bound.
// Numerics: one chain of FMAs in the order of the rows, as in gemm.cpp.

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

template <size_t kRows>
ALEXNET_INLINE void add_block(size_t columns, const float* x, const float* w, size_t w_row,
                              float* y) {
    Vec scale[kRows];
    for (size_t r = 0; r < kRows; ++r) scale[r] = broadcast(x[r]);
    size_t j = 0;
    for (; j + kLanes <= columns; j += kLanes) {
        Vec sum = load(y + j);
        for (size_t r = 0; r < kRows; ++r) sum = fma(scale[r], load(w + r * w_row + j), sum);
        store(y + j, sum);
    }
    if (j < columns) {
        const size_t n = columns - j;
        Vec sum = load_tail(y + j, n);
        for (size_t r = 0; r < kRows; ++r) {
            sum = fma(scale[r], load_tail(w + r * w_row + j, n), sum);
        }
        store_tail(y + j, sum, n);
    }
}

void add_weighted_rows(size_t rows, size_t columns, const float* x, const float* w, size_t w_row,
                       float* y) {
    size_t r = 0;
    for (; r + 8 <= rows; r += 8) add_block<8>(columns, x + r, w + r * w_row, w_row, y);
    for (; r < rows; ++r) add_block<1>(columns, x + r, w + r * w_row, w_row, y);
}

}  // namespace alexnet::ALEXNET_ISA
