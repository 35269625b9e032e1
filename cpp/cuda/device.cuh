// What kernels use of the device beyond plain C++. All of it stands here, so that the emulation
// (tests/cuda_emulation) can provide the same functions on the host.
//
// Shared memory is always dynamic: its size is an argument of the launch, which lets the emulation
// guard its bounds and fill it with NaN before each block.

#ifndef ALEXNET_CUDA_DEVICE_CUH_
#define ALEXNET_CUDA_DEVICE_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "alexnet/storage.h"

#ifdef ALEXNET_CUDA_EMULATION
#include "device_emulation.h"
#else

namespace alexnet::cuda {

// The block's shared memory, aligned to 16 bytes.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
    return reinterpret_cast<T*>(dynamic_shared_memory);
}

// --- asynchronous copies from global to shared memory (Ampere on; before, plain copies) ----------
//
// Of `valid` false the target becomes zero and the source, which then may point anywhere, is not
// read. Copies since the last commit form a group; wait<n> returns when
// all groups but the last n have arrived for this thread, others need a barrier after it.

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// 16 bytes, both sides aligned to as many; past L1 unless a block reads the same again.
template <bool through_l1 = false>
__device__ __forceinline__ void cp_async16(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
    if constexpr (through_l1) {
        asm volatile(
            "cp.async.ca.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
            "l"(global), "r"(valid ? 16 : 0)
            : "memory");
    } else {
        asm volatile(
            "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
            "l"(global), "r"(valid ? 16 : 0)
            : "memory");
    }
#else
    *static_cast<float4*>(shared) =
        valid ? *static_cast<const float4*>(global) : make_float4(0, 0, 0, 0);
#endif
}

// 8 and 4 bytes, which always go through L1.
__device__ __forceinline__ void cp_async8(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;\n" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 8 : 0)
                 : "memory");
#else
    *static_cast<float2*>(shared) = valid ? *static_cast<const float2*>(global) : make_float2(0, 0);
#endif
}

__device__ __forceinline__ void cp_async4(void* shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 4 : 0)
                 : "memory");
#else
    *static_cast<float*>(shared) = valid ? *static_cast<const float*>(global) : 0.0f;
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

template <int n>
__device__ __forceinline__ void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;\n" ::"n"(n) : "memory");
#endif
}

// What follows from the value is worked out behind this: not ahead of a loop around it, which nvcc
// else does as long as it finds registers, and beyond.
template <class Value>
__device__ __forceinline__ void work_out_here(Value& value) {
    if constexpr (sizeof(Value) == 8) {
        asm volatile("" : "+l"(value));
    } else {
        asm volatile("" : "+r"(value));
    }
}

// --- arithmetic ----------------------------------------------------------------------------------

// Within 2^-22 of the square root, relative to it; of numbers below FLT_MIN it is 0.
__device__ __forceinline__ float sqrt_approximate(float x) {
    float result;
    asm("sqrt.approx.ftz.f32 %0, %1;\n" : "=f"(result) : "f"(x));
    return result;
}

// rsqrtf to the bit, but infinity of numbers below FLT_MIN.
__device__ __forceinline__ float rsqrt_approximate(float x) {
    float result;
    asm("rsqrt.approx.ftz.f32 %0, %1;\n" : "=f"(result) : "f"(x));
    return result;
}

// --- matrices of shared memory -------------------------------------------------------------------

// Four matrices of 8 rows of 16 bytes, by a warp: the lanes 8i to 8i + 7 give the addresses of matrix
// i's rows, aligned to 16 bytes, and lane 4 · q + c receives in register i word c of its row q
// (Turing and newer).
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}

// The same with each matrix, of 8 × 8 elements of 16 bits, transposed: lane 4 · q + c receives
// elements q of rows 2c and 2c + 1.
__device__ __forceinline__ void load_transposed_matrices(uint32_t (&r)[4], const void* row) {
#if __CUDA_ARCH__ >= 750
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
#endif
}

// --- tensor cores --------------------------------------------------------------------------------

// The bits of x rounded to the nearest tf32, 10 bits of mantissa; the tensor cores ignore the 13 bits
// below. NaN stays NaN and infinity infinity. Hopper and newer have an instruction for it, with ties
// to even. Ampere adds half of the last place, ties away from zero, unless x is not finite: the
// addition would carry NaN's mantissa into the sign.
__device__ __forceinline__ uint32_t to_tf32(float x) {
    uint32_t bits = __float_as_uint(x);
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(x));
#elif __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(x));
#endif
    return bits;
}

// d += a · b of 16 × 8 by 8 × 8, together by the lanes of a warp (Ampere and newer). With
// q = lane / 4 and c = lane % 4 a lane holds
//   a: (q, c), (q + 8, c), (q, c + 4), (q + 8, c + 4)      b: (c, q), (c + 4, q)
//   d: (q, 2c), (q, 2c + 1), (q + 8, 2c), (q + 8, 2c + 1)
__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    __trap();  // the launcher refuses tf32 on older devices
#endif
}

// The same of 16 × 16 by 16 × 8 elements of 16 bits, two of neighbouring depths in a register:
//   a: (q, 2c), (q + 8, 2c), (q, 2c + 8), (q + 8, 2c + 8)      b: (2c, q), (2c + 8, q)
#if __CUDA_ARCH__ >= 800
#define ALEXNET_CUDA_MMA_16BIT(type)                                   \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type         \
        ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n" \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])               \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#else
#define ALEXNET_CUDA_MMA_16BIT(type) __trap()
#endif
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                    Bfloat16) {
    ALEXNET_CUDA_MMA_16BIT("bf16");
}
__device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                    Float16) {
    ALEXNET_CUDA_MMA_16BIT("f16");
}
#undef ALEXNET_CUDA_MMA_16BIT

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_EMULATION

namespace alexnet::cuda {

__host__ __device__ inline bool is_aligned16(const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// The same for float32, as tf32: operands are rounded before.
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], float) {
    mma_tf32(d, a, b);
}

// --- warps ---------------------------------------------------------------------------------------

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffff;

// Sum over the lanes of a warp, in every lane, by a fixed tree.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(kAllLanes, value, distance);
    }
    return value;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_DEVICE_CUH_
