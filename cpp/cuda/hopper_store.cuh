// The epilogue of a tile product of Hopper (hopper_gemm.cuh): bias, ReLU or the gradient of one, and the
// stores.
//
// Of a warpgroup's 64 rows a thread has two, eight apart, and in them two neighbours in each group of
// eight columns, the first of them at `column`. Nothing branches between loads, so that they are on
// their way at once, nor between stores of a tile that is whole: an H200 took 250 cycles for each pair
// of a bias, loaded one behind the other, 4.7 us of a tile 128 columns wide.

#ifndef ALEXNET_CUDA_HOPPER_STORE_CUH_
#define ALEXNET_CUDA_HOPPER_STORE_CUH_

#include <type_traits>

#include "hopper_product.cuh"

namespace alexnet::cuda {

// use(column, sums of the first row, of the second), for columns before `end`; with a branch at every
// `at_once` groups, where there are not registers for more loads at once.
template <uint32_t columns, uint32_t at_once, class Use>
__device__ __forceinline__ void for_groups(float (&sums)[columns / 2], uint32_t column,
                                           uint32_t end, Use use) {
#pragma unroll
    for (uint32_t group = 0; group < columns / 8; ++group) {
        if (group % at_once == 0 && column + 8 * group >= end) return;
        use(column + 8 * group, sums + 4 * group, sums + 4 * group + 2);
    }
}

template <class T, class Element>
__device__ bool in_pairs(const HopperProduct<T>& p, const Element* array, size_t stride) {
    return !p.transposed && stride % 2 == 0 && p.n % 2 == 0 &&
           reinterpret_cast<uintptr_t>(array) % (2 * sizeof(Element)) == 0;
}

// Bias and ReLU, or the gradient of one. Where there is no row or no column, the last one is read.
template <uint32_t columns, class T>
__device__ void activate(const HopperProduct<T>& p, float (&sums)[columns / 2],
                         const uint32_t (&rows)[2], uint32_t column) {
    const uint32_t last_row = p.m - 1, last_column = p.n - 1;
    const uint32_t first = min(rows[0], last_row), second = min(rows[1], last_row);
    if (p.bias && p.transposed) {
        const float upper = p.bias[first], lower = p.bias[second];
        for_groups<columns, columns / 8>(sums, column, p.n,
                                         [&](uint32_t, float* above, float* below) {
                                             above[0] += upper;
                                             above[1] += upper;
                                             below[0] += lower;
                                             below[1] += lower;
                                         });
    } else if (p.bias) {
        for_groups<columns, columns / 8>(sums, column, p.n,
                                         [&](uint32_t j, float* above, float* below) {
                                             const float left = p.bias[min(j, last_column)],
                                                         right = p.bias[min(j + 1, last_column)];
                                             above[0] += left;
                                             above[1] += right;
                                             below[0] += left;
                                             below[1] += right;
                                         });
    }
    if (p.relu) {  // NaN stays NaN
#pragma unroll
        for (uint32_t i = 0; i < columns / 2; ++i) sums[i] = sums[i] < 0.0f ? 0.0f : sums[i];
    }
    if (!p.relu_output) return;
    const size_t along_row = p.transposed ? p.stride : 1,
                 along_column = p.transposed ? 1 : p.stride;
    const T *upper = p.relu_output + first * along_column,
            *lower = p.relu_output + second * along_column;
    const auto let_through = [](float* of_row, float left, float right) {  // NaN lets nothing
        of_row[0] = left > 0.0f ? of_row[0] : 0.0f;
        of_row[1] = right > 0.0f ? of_row[1] : 0.0f;
    };
    if (in_pairs(p, p.relu_output, p.stride)) {
        for_groups<columns, 8>(sums, column, p.n, [&](uint32_t j, float* above, float* below) {
            const auto y = load_floats<2>(upper + min(j, p.n - 2));
            const auto z = load_floats<2>(lower + min(j, p.n - 2));
            let_through(above, y.at[0], y.at[1]);
            let_through(below, z.at[0], z.at[1]);
        });
    } else {
        for_groups<columns, 4>(sums, column, p.n, [&](uint32_t j, float* above, float* below) {
            const size_t left = min(j, last_column) * along_row;
            const size_t right = min(j + 1, last_column) * along_row;
            let_through(above, to_float(upper[left]), to_float(upper[right]));
            let_through(below, to_float(lower[left]), to_float(lower[right]));
        });
    }
}

// Rows from `row_end` on are not there.
template <uint32_t columns, class T, class Element>
__device__ void write(const HopperProduct<T>& p, Element* c, size_t stride,
                      float (&sums)[columns / 2], const uint32_t (&rows)[2], uint32_t row_end,
                      uint32_t column, bool whole) {
    const bool pairs = whole && in_pairs(p, c, stride);
    const size_t along_row = p.transposed ? stride : 1, along_column = p.transposed ? 1 : stride;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        uint32_t i = rows[half];
        if (i >= row_end || !p.find_row(i)) continue;
        Element* target = c + i * along_column + column * along_row;
        if (pairs) {
#pragma unroll
            for (uint32_t group = 0; group < columns / 8; ++group) {
                const float* both = sums + 4 * group + 2 * half;
                store_floats<2>(target + 8 * group, Floats<2>{{both[0], both[1]}});
            }
        } else {
#pragma unroll
            for (uint32_t group = 0; group < columns / 8; ++group, target += 8 * along_row) {
                const uint32_t j = column + 8 * group;
                const float* both = sums + 4 * group + 2 * half;
                if (j < p.n) target[0] = from_float<Element>(both[0]);
                if (j + 1 < p.n) target[along_row] = from_float<Element>(both[1]);
            }
        }
    }
}

// Out to memory, the rows of a warp from `row` on, `row_step` rows of C apart; sums of splits go as they
// are.
template <uint32_t columns, class T>
__device__ void store(const HopperProduct<T>& p, const HopperItem& item, float (&sums)[columns / 2],
                      uint32_t row, uint32_t lane, uint32_t row_step = 1) {
    const uint32_t rows[2] = {row + lane / 4 * row_step, row + (lane / 4 + 8) * row_step};
    const uint32_t row_end = item.row_end;
    const uint32_t column = item.column + 2 * (lane % 4);
    const bool whole = item.column + columns <= p.n;
    float* as_it_is = p.splits > 1 ? p.sums + item.split * p.split_size : p.gradient;
    const size_t stride = p.splits > 1 ? p.sum_stride : p.stride;
    if (!as_it_is) activate<columns>(p, sums, rows, column);
    if constexpr (std::is_same_v<T, float>) {
        float* c = as_it_is ? as_it_is : p.c;
        write<columns>(p, c, stride, sums, rows, row_end, column, whole);
    } else if (as_it_is) {
        write<columns>(p, as_it_is, stride, sums, rows, row_end, column, whole);
    } else {
        write<columns>(p, p.c, stride, sums, rows, row_end, column, whole);
    }
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_STORE_CUH_
