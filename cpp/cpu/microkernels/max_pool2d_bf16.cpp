// Max pooling of one row of windows, on the bits of bfloat16: as max_pool2d.cpp, forward only.
//   y[ow,c] = max of x[h,w,c] over the window of ow
// Pairs of channels are widened, the first and the second of each in a vector of their own.
//
// Cost of two vectors of channels in a window: a load and 8 instructions a pixel.
// Numerics: values are copied, never computed.

#include "pool_columns.h"
#include "simd_bf16.h"

namespace alexnet::ALEXNET_ISA {

constexpr size_t kChannels = 2 * kLanes;  // at a time

template <bool kTail>
ALEXNET_INLINE void pool(const PoolRow& row, size_t columns, const uint16_t* x, uint16_t* y,
                         size_t n) {
    Vec first = broadcast(-__builtin_inff()), second = first;
    uint16_t part[kChannels] = {};
    for (size_t i = 0; i < row.rows; ++i, x += row.in_width * row.channels) {
        for (size_t j = 0; j < columns; ++j) {
            const uint16_t* pixel = x + j * row.channels;
            if (kTail) {
                for (size_t c = 0; c < n; ++c) part[c] = pixel[c];
                pixel = part;
            }
            first = max_nan(first, widen_first(pixel));
            second = max_nan(second, widen_second(pixel));
        }
    }
    store_upper_halves(kTail ? part : y, first, second);
    for (size_t c = 0; kTail && c < n; ++c) y[c] = part[c];
}

void max_pool2d_bf16_row(const PoolRow& row, const uint16_t* x, uint16_t* y) {
    for (size_t column = 0; column < row.out_width; ++column, y += row.channels) {
        const Columns columns = columns_of(row, column);
        const uint16_t* px = x + columns.first * row.channels;
        size_t c = 0;
        for (; c + kChannels <= row.channels; c += kChannels) {
            pool<false>(row, columns.count, px + c, y + c, 0);
        }
        if (c < row.channels) pool<true>(row, columns.count, px + c, y + c, row.channels - c);
    }
}

}  // namespace alexnet::ALEXNET_ISA
