// Max pooling of one row of windows, and its gradient.
//   y[ow,c] = max of x[h,w,c] over the window of ow;   dx[h,w,c] += dy[ow,c] at the first maximum
// Shapes: x, dx (rows, in_width, channels): the image rows under the windows, padding cut off.
//         y, dy (out_width, channels). In place is not allowed.
// Kept for backward, one of two:
//   nothing: backward searches each window again, for the first pixel that has the maximum's bits
//   positions (out_width, channels): that pixel's number in its window, counted row by row
//
//   a window of 3 x 3, as numbered:   0 1 2     A vector holds one pixel's neighbouring channels,
//                                     3 4 5     so each lane has a window of its own. kBlock
//                                     6 7 8     vectors go together, so that comparisons overlap.
//
// Cost of each vector in a window: forward a load and 3 instructions, backward 3 loads, a store and
// 6 instructions, in L1 or L2 where windows overlap; with positions 2 loads and 6 instructions, and
// 2 loads, a store and 3 instructions. x, y (dy, dx) pass to or from memory once: with 3x3 windows
// at stride 2 forward is memory-bound, backward nearly so.
// Numerics: values are copied, never computed. A gradient sums dy in the order of the windows.

#include "kernels.h"
#include "pool_columns.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

constexpr size_t kBlock = 4;

// A block is kVectors vectors of channels at one pixel or, with kTail, the first n of one vector.
template <size_t vectors, bool tail>
struct Block {
    static constexpr size_t kVectors = vectors;
    static constexpr bool kTail = tail;
};

// body(block, first channel, n) for all channels.
template <typename Body>
ALEXNET_INLINE void for_blocks(size_t channels, const Body& body) {
    size_t c = 0;
    for (; c + kBlock * kLanes <= channels; c += kBlock * kLanes) {
        body(Block<kBlock, false>{}, c, 0);
    }
    static_assert(kBlock == 4, "the rest is up to three vectors");
    const size_t rest = (channels - c) / kLanes;
    if (rest == 3) body(Block<3, false>{}, c, 0);
    if (rest == 2) body(Block<2, false>{}, c, 0);
    if (rest == 1) body(Block<1, false>{}, c, 0);
    c += rest * kLanes;
    if (c < channels) body(Block<1, true>{}, c, channels - c);
}

template <bool kTail>
ALEXNET_INLINE Vec load_part(const float* p, size_t i, size_t n) {
    return kTail ? load_tail(p, n) : load(p + i * kLanes);
}
template <bool kTail>
ALEXNET_INLINE void store_part(float* p, size_t i, Vec v, size_t n) {
    if (kTail) {
        store_tail(p, v, n);
    } else {
        store(p + i * kLanes, v);
    }
}

// Maxima over a window of row.rows x columns pixels of which x is the first. Prefetches into L2 for
// the next row of windows, stride_height rows further down. As windows overlap, it asks only for
// pixels (`is_new`) that lie below this window, in columns that no window to its left has.
template <size_t kVectors, bool kTail>
ALEXNET_INLINE void find_maxima(const PoolRow& row, size_t columns, const float* x, size_t n,
                                Vec* best) {
    const size_t below = row.stride_height * row.in_width * row.channels;
    for (size_t v = 0; v < kVectors; ++v) best[v] = broadcast(-__builtin_inff());
    for (size_t i = 0; i < row.rows; ++i, x += row.in_width * row.channels) {
        const float* pixel = x;
        for (size_t j = 0; j < columns; ++j, pixel += row.channels) {
            const bool is_new =
                i + row.stride_height >= row.rows && j + row.stride_width >= columns;
            for (size_t v = 0; v < kVectors; ++v) {
                if (is_new) __builtin_prefetch(pixel + below + v * kLanes, 0, 2);
                best[v] = max_nan(best[v], load_part<kTail>(pixel, v, n));
            }
        }
    }
}

template <size_t kVectors, bool kTail>
ALEXNET_INLINE void forward(const PoolRow& row, size_t columns, const float* x, float* y,
                            float* positions, size_t n) {
    Vec best[kVectors];
    find_maxima<kVectors, kTail>(row, columns, x, n, best);
    for (size_t v = 0; v < kVectors; ++v) store_part<kTail>(y, v, best[v], n);
    if (positions == nullptr) return;
    Vec position[kVectors];
    for (size_t v = 0; v < kVectors; ++v) position[v] = zero();
    Vec number = broadcast(static_cast<float>(row.rows * columns - 1));
    for (size_t i = row.rows; i-- > 0;) {  // backwards, so that the first stays
        const float* pixel = x + i * row.in_width * row.channels;
        for (size_t j = columns; j-- > 0;) {
            for (size_t v = 0; v < kVectors; ++v) {
                const Vec value = load_part<kTail>(pixel + j * row.channels, v, n);
                position[v] = select(same_bits(value, best[v]), number, position[v]);
            }
            number = add(number, broadcast(-1.0f));
        }
    }
    for (size_t v = 0; v < kVectors; ++v) store_part<kTail>(positions, v, position[v], n);
}

// Rows before `first_row` take part in the search only; dx is that of the pixel of x.
template <size_t kVectors, bool kTail>
ALEXNET_INLINE void backward(const PoolRow& row, size_t columns, const float* dy, const float* x,
                             float* dx, size_t first_row, size_t end_row, size_t n) {
    Vec best[kVectors], gradient[kVectors];
    find_maxima<kVectors, kTail>(row, columns, x, n, best);
    for (size_t v = 0; v < kVectors; ++v) gradient[v] = load_part<kTail>(dy, v, n);
    for (size_t i = 0; i < end_row; ++i) {
        const size_t start = i * row.in_width * row.channels;
        for (size_t j = 0; j < columns; ++j) {
            const size_t pixel = start + j * row.channels;
            for (size_t v = 0; v < kVectors; ++v) {
                const Mask is_best = same_bits(load_part<kTail>(x + pixel, v, n), best[v]);
                if (i >= first_row) {
                    const Vec old = load_part<kTail>(dx + pixel, v, n);
                    store_part<kTail>(dx + pixel, v, select(is_best, add(old, gradient[v]), old),
                                      n);
                }
                gradient[v] = select(is_best, zero(), gradient[v]);  // only the first takes it
            }
        }
    }
}

// dx is the pixel in row `first_row`.
template <size_t kVectors, bool kTail>
ALEXNET_INLINE void scatter(const PoolRow& row, size_t columns, const float* dy,
                            const float* positions, float* dx, size_t first_row, size_t end_row,
                            size_t n) {
    Vec gradient[kVectors], position[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
        gradient[v] = load_part<kTail>(dy, v, n);
        position[v] = load_part<kTail>(positions, v, n);
    }
    Vec number = broadcast(static_cast<float>(first_row * columns));
    for (size_t i = first_row; i < end_row; ++i) {
        float* pixel = dx + (i - first_row) * row.in_width * row.channels;
        for (size_t j = 0; j < columns; ++j, pixel += row.channels) {
            for (size_t v = 0; v < kVectors; ++v) {
                const Vec old = load_part<kTail>(pixel, v, n);
                const Mask is_here = same_bits(position[v], number);
                store_part<kTail>(pixel, v, select(is_here, add(old, gradient[v]), old), n);
            }
            number = add(number, broadcast(1.0f));
        }
    }
}

void max_pool2d_row(const PoolRow& row, const float* x, float* y, float* positions) {
    for (size_t column = 0; column < row.out_width; ++column) {
        const Columns columns = columns_of(row, column);
        const float* px = x + columns.first * row.channels;
        const size_t at = column * row.channels;
        for_blocks(row.channels, [&](auto block, size_t c, size_t n) {
            forward<block.kVectors, block.kTail>(row, columns.count, px + c, y + at + c,
                                                 positions ? positions + at + c : nullptr, n);
        });
    }
}

void max_pool2d_backward_row(const PoolRow& row, const float* dy, const float* x, float* dx,
                             size_t first_row, size_t end_row) {
    for (size_t column = 0; column < row.out_width; ++column, dy += row.channels) {
        const Columns columns = columns_of(row, column);
        const float* px = x + columns.first * row.channels;
        float* pdx = dx + columns.first * row.channels;
        for_blocks(row.channels, [&](auto block, size_t c, size_t n) {
            backward<block.kVectors, block.kTail>(row, columns.count, dy + c, px + c, pdx + c,
                                                  first_row, end_row, n);
        });
    }
}

void max_pool2d_scatter_row(const PoolRow& row, const float* dy, const float* positions, float* dx,
                            size_t first_row, size_t end_row) {
    for (size_t column = 0; column < row.out_width; ++column) {
        const Columns columns = columns_of(row, column);
        float* pdx = dx + columns.first * row.channels;
        const size_t at = column * row.channels;
        for_blocks(row.channels, [&](auto block, size_t c, size_t n) {
            scatter<block.kVectors, block.kTail>(row, columns.count, dy + at + c,
                                                 positions + at + c, pdx + c, first_row, end_row,
                                                 n);
        });
    }
}

void max_pool2d_finish(size_t n, const float* sums, const float* x, float* dx) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const Vec v = load(sums + i);
        if (!kVectorFillsLine) prefetch_to_write(dx + i);
        stream_lines(dx + i, x ? select_positive(load(x + i), v) : v);
    }
    if (i < n) {
        const Vec v = load_tail(sums + i, n - i);
        store_tail(dx + i, x ? select_positive(load_tail(x + i, n - i), v) : v, n - i);
    }
}

}  // namespace alexnet::ALEXNET_ISA
