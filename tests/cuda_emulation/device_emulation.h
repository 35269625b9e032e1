// Host versions of what cpp/cuda/device.cuh does in PTX.

#ifndef ALEXNET_CUDA_EMULATION_DEVICE_EMULATION_H_
#define ALEXNET_CUDA_EMULATION_DEVICE_EMULATION_H_

#include <cuda_runtime.h>

#include "storage_emulation.h"

namespace alexnet::cuda {

template <typename T>
T* dynamic_shared() {
    return static_cast<T*>(emulation::shared_memory());
}

template <bool through_l1 = false>
void cp_async16(void* shared, const void* global, bool valid) {
    emulation::start_copy(shared, valid ? global : nullptr, 16, through_l1);
}
inline void cp_async8(void* shared, const void* global, bool valid) {
    emulation::start_copy(shared, valid ? global : nullptr, 8, true);
}
inline void cp_async4(void* shared, const void* global, bool valid) {
    emulation::start_copy(shared, valid ? global : nullptr, 4, true);
}
inline void cp_async_commit() { emulation::commit_copies(); }
template <int n>
void cp_async_wait() {
    emulation::wait_for_copies(n);
}

template <class Value>
void work_out_here(Value&) {}

inline float sqrt_approximate(float x) { return std::sqrt(x); }
inline float rsqrt_approximate(float x) {
    return std::fpclassify(x) == FP_SUBNORMAL ? INFINITY : rsqrtf(x);
}

// Each lane reads its row and hands it out; `word` gives word i of what lane 4 · q + c receives.
template <typename Word>
void exchange_rows(uint32_t (&r)[4], const void* row, const char* file, int line, Word word) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulation::fail("ldmatrix: not aligned");
    const float4 mine = *static_cast<const float4*>(row);
    const unsigned char* lanes = emulation::deposit(0xffffffff, &mine, sizeof mine, {file, line});
    for (int i = 0; i < 4; ++i) {
        const auto half = [&](int of_row, int element) {
            uint16_t value;
            std::memcpy(&value, lanes + (8 * i + of_row) * emulation::kLaneBytes + element * 2, 2);
            return uint32_t{value};
        };
        r[i] = word(half, emulation::lane() / 4, emulation::lane() % 4);
    }
}
inline void load_matrices(uint32_t (&r)[4], const void* row, const char* file = __builtin_FILE(),
                          int line = __builtin_LINE()) {
    exchange_rows(r, row, file, line, [](const auto& half, int q, int c) {
        return half(q, 2 * c) | half(q, 2 * c + 1) << 16;
    });
}
inline void load_transposed_matrices(uint32_t (&r)[4], const void* row,
                                     const char* file = __builtin_FILE(),
                                     int line = __builtin_LINE()) {
    exchange_rows(r, row, file, line, [](const auto& half, int q, int c) {
        return half(2 * c, q) | half(2 * c + 1, q) << 16;
    });
}

inline uint32_t to_tf32(float x) {
    const uint32_t bits = __float_as_uint(x);
    return std::isfinite(x) ? (bits + 0x1000) & 0xffffe000 : bits;
}

// D += A · B, 16 × 8 elements of D, of which a lane owns four. `mine` are the lane's elements of both
// operands, widened; `left` and `right` say in which lane, and there in which place, an element of
// a row or column and depth k is. Products are exact: 11 by 11 bits of mantissa.
template <int depths, size_t count, class Left, class Right>
void add_products(float (&d)[4], const float (&mine)[count], emulation::Place place, Left left,
                  Right right) {
    emulation::note_product();
    const unsigned char* lanes = emulation::deposit(0xffffffff, mine, sizeof mine, place);
    const auto element = [&](int lane, int i) {
        float value;
        std::memcpy(&value, lanes + lane * emulation::kLaneBytes + i * sizeof value, sizeof value);
        return value;
    };
    for (int i = 0; i < 4; ++i) {
        const int row = emulation::lane() / 4 + i / 2 * 8;
        const int column = emulation::lane() % 4 * 2 + i % 2;
        float sum = d[i];
        for (int k = 0; k < depths; ++k) {
            sum += left(element, row, k) * right(element, column, k);
        }
        d[i] = sum;
    }
}

// The layout of fragments is that of mma.m16n8k8 in the PTX manual. The 13 lowest bits are ignored.
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                     const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    float mine[6];
    for (int i = 0; i < 6; ++i) mine[i] = __uint_as_float((i < 4 ? a[i] : b[i - 4]) & 0xffffe000);
    add_products<8>(
        d, mine, {file, line},
        [](auto element, int row, int k) {
            return element(row % 8 * 4 + k % 4, row / 8 + k / 4 * 2);
        },
        [](auto element, int column, int k) { return element(column * 4 + k % 4, 4 + k / 4); });
}

// The same for mma.m16n8k16, two elements of neighbouring depths in a register, whose bits `widened`
// makes a float.
template <typename Widened>
void mma_16bit(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file,
               int line, Widened widened) {
    float mine[12];
    for (int i = 0; i < 12; ++i) {
        const uint32_t word = i < 8 ? a[i / 2] : b[i / 2 - 4];
        mine[i] = widened(static_cast<uint16_t>(i % 2 ? word >> 16 : word));
    }
    add_products<16>(
        d, mine, {file, line},
        [](auto element, int row, int k) {
            return element(row % 8 * 4 + k % 8 / 2, (row / 8 + k / 8 * 2) * 2 + k % 2);
        },
        [](auto element, int column, int k) {
            return element(column * 4 + k % 8 / 2, 8 + k / 8 * 2 + k % 2);
        });
}
inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Bfloat16,
                const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    mma_16bit(d, a, b, file, line,
              [](uint16_t bits) { return __uint_as_float(uint32_t{bits} << 16); });
}
inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Float16,
                const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    mma_16bit(d, a, b, file, line, [](uint16_t bits) { return to_float(Float16{bits}); });
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_EMULATION_DEVICE_EMULATION_H_
