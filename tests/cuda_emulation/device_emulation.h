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

// The layout of fragments is that of mma.m16n8k8 in the PTX manual: element (row, column) of a, b
// and d is looked up in the lane and register that hold it.
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                     const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    struct Operands {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    emulation::note_product();
    const unsigned char* lanes = emulation::deposit(0xffffffff, &mine, sizeof mine, {file, line});
    const auto element = [&](int lane, size_t word) {  // the 13 lowest bits are ignored
        uint32_t bits;
        std::memcpy(&bits, lanes + lane * emulation::kLaneBytes + word * sizeof bits, sizeof bits);
        return __uint_as_float(bits & 0xffffe000);
    };
    for (int i = 0; i < 4; ++i) {
        const int row = emulation::lane() / 4 + i / 2 * 8;
        const int column = emulation::lane() % 4 * 2 + i % 2;
        float sum = d[i];
        for (int k = 0; k < 8; ++k) {
            const float left = element(row % 8 * 4 + k % 4, row / 8 + k / 4 * 2);
            const float right = element(column * 4 + k % 4, 4 + k / 4);
            sum += left * right;  // exact products: 11 by 11 bits of mantissa
        }
        d[i] = sum;
    }
}

// The same for mma.m16n8k16, two elements of neighbouring depths in a register, whose bits `widened`
// makes a float.
template <typename Widened>
void mma_16bit(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file,
               int line, Widened widened) {
    struct Operands {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    emulation::note_product();
    const unsigned char* lanes = emulation::deposit(0xffffffff, &mine, sizeof mine, {file, line});
    const auto element = [&](int lane, int word, int half) {
        uint16_t bits;
        std::memcpy(&bits, lanes + lane * emulation::kLaneBytes + word * 4 + half * 2, 2);
        return widened(bits);
    };
    for (int i = 0; i < 4; ++i) {
        const int row = emulation::lane() / 4 + i / 2 * 8;
        const int column = emulation::lane() % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) {
            const int of_quad = k % 8 / 2, later = k / 8;
            const float left = element(row % 8 * 4 + of_quad, row / 8 + later * 2, k % 2);
            const float right = element(column * 4 + of_quad, 4 + later, k % 2);
            d[i] += left * right;  // exact products: 11 by 11 bits of mantissa
        }
    }
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
