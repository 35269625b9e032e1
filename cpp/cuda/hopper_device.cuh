// What the kernels for Hopper (compute capability 9.0, compiled for sm_90a) use of the device beyond
// device.cuh: mbarriers, the tensor copy engine, products of warpgroups. The emulation
// (tests/cuda_emulation/hopper.h) provides the same functions on the host, and checks their use.
//
// Sources: PTX ISA 9.0, mbarrier, cp.async.bulk.tensor, wgmma; CUDA Programming Guide, "Using TMA".

#ifndef ALEXNET_CUDA_HOPPER_DEVICE_CUH_
#define ALEXNET_CUDA_HOPPER_DEVICE_CUH_

#include <cuda.h>

#include "device.cuh"

#ifdef ALEXNET_CUDA_EMULATION
#include "hopper.h"
#else

namespace alexnet::cuda {

// --- mbarriers -----------------------------------------------------------------------------------
//
// A barrier in shared memory whose phase ends once `count` threads have arrived and all bytes that
// they said to expect have come; then the next phase begins.

__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier))
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
// lies outside of the tensor is zero. Its bytes are counted off from what the mbarrier expects.

// The box of a matrix that begins at column x of row y.
__device__ __forceinline__ void tensor_copy(void* shared, const CUtensorMap& map, uint64_t* barrier,
                                            int x, int y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4}], [%2];\n" ::"r"(shared_address(shared)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y)
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

// --- products of a warpgroup, four warps -----------------------------------------------------------

// Before the first product on accumulators, and after registers of an operand, which are those of
// `a`, were written: the compiler moves none of these writes behind it.
__device__ __forceinline__ void wgmma_fence(uint32_t (&a)[4][4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        asm volatile("" : "+r"(a[k][0]), "+r"(a[k][1]), "+r"(a[k][2]), "+r"(a[k][3])::"memory");
    }
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

// Until all groups of products but the last n are done.
template <int n>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(n) : "memory");
}

// Operands of the instruction, 16 accumulators a line: their numbers, and themselves.
// clang-format off
#define ALEXNET_D0 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define ALEXNET_D16 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define ALEXNET_D32 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define ALEXNET_D48 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define ALEXNET_D64 "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define ALEXNET_D80 "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define ALEXNET_D96 "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"
#define ALEXNET_D112 "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define ALEXNET_F0 "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define ALEXNET_F16 "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define ALEXNET_F32 "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define ALEXNET_F48 "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define ALEXNET_F64 "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define ALEXNET_F80 "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define ALEXNET_F96 "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define ALEXNET_F112 "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
// clang-format on

#define ALEXNET_WGMMA(columns, numbers, a0, a1, a2, a3, b, ...)                                    \
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n" columns        \
        "k8.f32.tf32.tf32 {" numbers "}, {%" a0 ",%" a1 ",%" a2 ",%" a3 "}, %" b ", p, 1, 1;\n}\n" \
        : __VA_ARGS__                                                                              \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(descriptor))

// d += a · b: 64 × n by 64 × 8 and 8 × n. With q = lane / 4, c = lane % 4, a
// thread of warp w of the warpgroup holds, of rows from 16 w on,
//   a: (q, c), (q + 8, c), (q, c + 4), (q + 8, c + 4), whose 13 lowest bits are ignored
//   d: (q, 8 j + 2c), (q, 8 j + 2c + 1), (q + 8, 8 j + 2c), (q + 8, 8 j + 2c + 1) for each j < n / 8
// and b, K-major, lies where the descriptor says. Nothing of this may change before the wait.
template <int n>
__device__ __forceinline__ void wgmma_tf32(float (&d)[n / 2], const uint32_t (&a)[4],
                                           uint64_t descriptor) {
    if constexpr (n == 32) {
        ALEXNET_WGMMA("32", ALEXNET_D0, "16", "17", "18", "19", "20", ALEXNET_F0);
    } else if constexpr (n == 64) {
        ALEXNET_WGMMA("64", ALEXNET_D0 "," ALEXNET_D16, "32", "33", "34", "35", "36", ALEXNET_F0,
                      ALEXNET_F16);
    } else if constexpr (n == 128) {
        ALEXNET_WGMMA("128", ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32 "," ALEXNET_D48, "64", "65",
                      "66", "67", "68", ALEXNET_F0, ALEXNET_F16, ALEXNET_F32, ALEXNET_F48);
    } else if constexpr (n == 192) {
        ALEXNET_WGMMA("192",
                      ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32 "," ALEXNET_D48 "," ALEXNET_D64
                                 "," ALEXNET_D80,
                      "96", "97", "98", "99", "100", ALEXNET_F0, ALEXNET_F16, ALEXNET_F32,
                      ALEXNET_F48, ALEXNET_F64, ALEXNET_F80);
    } else if constexpr (n == 256) {
        ALEXNET_WGMMA("256",
                      ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32 "," ALEXNET_D48 "," ALEXNET_D64
                                 "," ALEXNET_D80 "," ALEXNET_D96 "," ALEXNET_D112,
                      "128", "129", "130", "131", "132", ALEXNET_F0, ALEXNET_F16, ALEXNET_F32,
                      ALEXNET_F48, ALEXNET_F64, ALEXNET_F80, ALEXNET_F96, ALEXNET_F112);
    } else {
        static_assert(n == 32, "columns that wgmma_tf32 does not have");
    }
}

#undef ALEXNET_WGMMA

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

// A K-major matrix in shared memory as wgmma takes it: rows of 128 bytes, 8 of them a swizzled
// pattern of 1024, from which `start` is off by the bytes of the depths before.
//   bits 0-13 address / 16, 16-29 leading byte offset / 16 (1: unused with a swizzle), 32-45 stride
//   byte offset / 16 from eight rows to the next, 49-51 base offset, 62-63 swizzle (1: 128 bytes)
__device__ inline uint64_t swizzled_matrix(uint32_t start) {
    return uint64_t{1} << 62 | uint64_t{1024 / 16} << 32 | uint64_t{1} << 16 | start >> 4;
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_DEVICE_CUH_
