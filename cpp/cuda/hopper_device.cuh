// What the kernels for Hopper (compute capability 9.0, compiled for sm_90a) use of the device beyond
// device.cuh: clusters, mbarriers, the tensor copy engine; products of warpgroups are in
// hopper_wgmma.cuh. The emulation (tests/cuda_emulation/hopper.h) provides the same functions on the
// host, and checks their use.
//
// Sources: PTX ISA 9.0, barrier.cluster, mapa, mbarrier, cp.async.bulk.tensor, wgmma; CUDA Programming
// Guide, "Using TMA".

#ifndef ALEXNET_CUDA_HOPPER_DEVICE_CUH_
#define ALEXNET_CUDA_HOPPER_DEVICE_CUH_

#include <cuda.h>

#include "device.cuh"

#ifdef ALEXNET_CUDA_EMULATION
#include "hopper.h"
#else

#include "hopper_wgmma.cuh"

namespace alexnet::cuda {

// --- clusters ------------------------------------------------------------------------------------
//
// Blocks that are on the device together and reach each other's shared memory: at the same offset as
// in their own, in the block of a given rank. A launch without clusters has clusters of one block.

__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
    return rank;
}

// All threads of the cluster wait for each other. Of memory this orders the initialisation of mbarriers
// alone, behind fence_mbarrier_init.
__device__ __forceinline__ void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.relaxed;\nbarrier.cluster.wait.acquire;\n" ::: "memory");
}

// --- mbarriers -----------------------------------------------------------------------------------
//
// A barrier in shared memory whose phase ends once `count` threads have arrived and all bytes that
// they said to expect have come; then the next phase begins.

__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}

// Make this thread's initialised mbarriers known to the cluster, before cluster_barrier.
__device__ __forceinline__ void fence_mbarrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}

// At the barrier of the cluster's block `rank`. What this thread has read by then is read. Its writes
// are ordered for its own block alone: for a cluster the compiler would have it wait for all of them.
__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier, uint32_t rank) {
    asm volatile(
        "{\n.reg .b32 there;\n"
        "mapa.shared::cluster.u32 there, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(shared_address(barrier)),
        "r"(rank)
        : "memory");
}

__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
}

// Wait for the end of the phase of this parity: of the current one, or of the one before it, which
// has ended. The first phase has parity 0.
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, uint32_t parity) {
    uint32_t ended;
    do {
        asm volatile(
            "{\n.reg .pred p;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
            "selp.u32 %0, 1, 0, p;\n}\n"
            : "=r"(ended)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
    } while (!ended);
}

// Make this thread's writes of shared memory, initialised mbarriers among them, visible to what
// tensor copies and wgmma do.
__device__ __forceinline__ void fence_proxy_async() {
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// --- copies of tensors from global to shared memory -----------------------------------------------
//
// Called by one thread. The map, in the kernel's parameters, says how large the copied box is; what
// lies outside of the tensor is zero. Its bytes are counted off from what the mbarrier expects. With a
// mask, the box goes to all blocks of the cluster whose rank's bit is set: to the same place in the
// shared memory of each, where the mbarrier at the same place counts it off.

// The box of a matrix that begins at column x of row y.
__device__ __forceinline__ void tensor_copy(void* shared, const CUtensorMap& map, uint64_t* barrier,
                                            int x, int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4}], [%2];\n" ::"r"(shared_address(shared)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y)
        : "memory");
}

// The same of an array of three dimensions, from matrix z on.
__device__ __forceinline__ void tensor_copy(void* shared, const CUtensorMap& map, uint64_t* barrier,
                                            int x, int y, int z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5}], [%2];\n" ::"r"(shared_address(shared)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
        : "memory");
}

__device__ __forceinline__ void tensor_multicast(void* shared, const CUtensorMap& map,
                                                 uint64_t* barrier, int x, int y, uint16_t mask) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;\n" ::"r"(shared_address(shared)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "h"(mask)
        : "memory");
}
__device__ __forceinline__ void tensor_multicast(void* shared, const CUtensorMap& map,
                                                 uint64_t* barrier, int x, int y, int z,
                                                 uint16_t mask) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        ".multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;\n" ::"r"(shared_address(shared)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "h"(mask)
        : "memory");
}

// Channels from c on of the pixels under one tap, (right, down) from each window's first pixel: of
// windows that begin at (w, h) of image n, and at those that follow along w, then h, then n.
__device__ __forceinline__ void tensor_copy_windows(void* shared, const CUtensorMap& map,
                                                    uint64_t* barrier, int c, int w, int h, int n,
                                                    uint16_t right, uint16_t down) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};\n" ::"r"(shared_address(shared)),
        "l"(&map), "r"(shared_address(barrier)), "r"(c), "r"(w), "r"(h), "r"(n), "h"(right),
        "h"(down)
        : "memory");
}

// --- registers -----------------------------------------------------------------------------------

// Hand registers from the warpgroups that need few to those that need many; by all threads of one.
template <int registers>
__device__ __forceinline__ void raise_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(registers));
}
template <int registers>
__device__ __forceinline__ void lower_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(registers));
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_EMULATION

namespace alexnet::cuda {

// Matrices in shared memory as wgmma takes them, in rows of 128 bytes or of `span`, 8 of them a swizzled
// pattern. `start` is a pattern's start, but for the bytes of depths before, and is aligned to the
// pattern's bytes, as the base offset is 0.
//   bits 0-13 address / 16, 16-29 leading byte offset / 16, 32-45 stride byte offset / 16,
//   49-51 base offset, 62-63 swizzle (1: 128 bytes, 2: 64)

// Rows of neighbouring depths (K-major). Stride: from eight rows to the next; leading: unused.
__device__ inline uint64_t swizzled_matrix(uint32_t start) {
    return uint64_t{1} << 62 | uint64_t{1024 / 16} << 32 | uint64_t{1} << 16 | start >> 4;
}

// Rows of as many neighbours of 16 bits across the depth as a span has, one for each depth (MN-major).
// Stride: from eight depths to the next; leading: from a span's neighbours to the next, `box` bytes. The
// columns of a product are whole spans: of 96 it is defined with spans of 64 bytes, not with 128.
template <uint32_t span = 128>
__device__ inline uint64_t swizzled_columns(uint32_t start, uint32_t box) {
    static_assert(span == 128 || span == 64);
    return uint64_t{128 / span} << 62 | uint64_t{8 * span / 16} << 32 | uint64_t{box / 16} << 16 |
           start >> 4;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_DEVICE_CUH_
