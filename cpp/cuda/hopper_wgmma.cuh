// Products of a warpgroup, four warps, on Hopper (PTX ISA 9.0, "Asynchronous warpgroup level matrix
// instructions"): wgmma of tf32 with the left operand in registers, and of 16 bits with it there or in
// shared memory, as the right one. Included by hopper_device.cuh alone.

#ifndef ALEXNET_CUDA_HOPPER_WGMMA_CUH_
#define ALEXNET_CUDA_HOPPER_WGMMA_CUH_

#include <cstdint>
#include <type_traits>

#include "alexnet/storage.h"

namespace alexnet::cuda {

// Before the first product on accumulators: the compiler moves no write of theirs behind it.
__device__ __forceinline__ void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}

// The same where registers of an operand, which are those of `a`, were written.
template <int products>
__device__ __forceinline__ void wgmma_fence(uint32_t (&a)[products][4]) {
#pragma unroll
    for (int k = 0; k < products; ++k) {
        asm volatile("" : "+r"(a[k][0]), "+r"(a[k][1]), "+r"(a[k][2]), "+r"(a[k][3])::"memory");
    }
    wgmma_fence();
}

__device__ __forceinline__ void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

// Until all groups of products but the last n are done.
template <int n>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(n) : "memory");
}

// Accumulators of the instruction, 16 a line: their numbers as operands, and themselves.
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

// For n accumulators: the columns and the accumulators' numbers as text, the numbers of five more
// operands, the accumulators.
#define ALEXNET_FOR_COLUMNS(use)                                                                  \
    if constexpr (n == 32) {                                                                      \
        use("32", ALEXNET_D0, "16", "17", "18", "19", "20", ALEXNET_F0);                          \
    } else if constexpr (n == 64) {                                                               \
        use("64", ALEXNET_D0 "," ALEXNET_D16, "32", "33", "34", "35", "36", ALEXNET_F0,           \
            ALEXNET_F16);                                                                         \
    } else if constexpr (n == 96) {                                                               \
        use("96", ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32, "48", "49", "50", "51", "52",       \
            ALEXNET_F0, ALEXNET_F16, ALEXNET_F32);                                                \
    } else if constexpr (n == 128) {                                                              \
        use("128", ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32 "," ALEXNET_D48, "64", "65", "66",  \
            "67", "68", ALEXNET_F0, ALEXNET_F16, ALEXNET_F32, ALEXNET_F48);                       \
    } else if constexpr (n == 192) {                                                              \
        use("192",                                                                                \
            ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32 "," ALEXNET_D48 "," ALEXNET_D64            \
                       "," ALEXNET_D80,                                                           \
            "96", "97", "98", "99", "100", ALEXNET_F0, ALEXNET_F16, ALEXNET_F32, ALEXNET_F48,     \
            ALEXNET_F64, ALEXNET_F80);                                                            \
    } else if constexpr (n == 256) {                                                              \
        use("256",                                                                                \
            ALEXNET_D0 "," ALEXNET_D16 "," ALEXNET_D32 "," ALEXNET_D48 "," ALEXNET_D64            \
                       "," ALEXNET_D80 "," ALEXNET_D96 "," ALEXNET_D112,                          \
            "128", "129", "130", "131", "132", ALEXNET_F0, ALEXNET_F16, ALEXNET_F32, ALEXNET_F48, \
            ALEXNET_F64, ALEXNET_F80, ALEXNET_F96, ALEXNET_F112);                                 \
    } else {                                                                                      \
        static_assert(n == 32, "columns that wgmma does not have here");                          \
    }

#define ALEXNET_WGMMA_TF32(columns, numbers, a0, a1, a2, a3, b, ...)                               \
    asm volatile(                                                                                  \
        "{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n" columns        \
        "k8.f32.tf32.tf32 {" numbers "}, {%" a0 ",%" a1 ",%" a2 ",%" a3 "}, %" b ", p, 1, 1;\n}\n" \
        : __VA_ARGS__                                                                              \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_matrix))

#define ALEXNET_WGMMA_16(type, columns, numbers, a, b, a_across, b_across, unused, ...)     \
    asm volatile(                                                                           \
        "{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n" columns \
        "k16.f32." type "." type " {" numbers "}, %" a ", %" b ", p, 1, 1, %" a_across      \
        ", %" b_across ";\n}\n"                                                             \
        : __VA_ARGS__                                                                       \
        : "l"(a_matrix), "l"(b_matrix), "n"(int{!a_along_depth}), "n"(int{!b_along_depth}))
#define ALEXNET_WGMMA_A_16(type, b_across, columns, numbers, a0, a1, a2, a3, b, ...)        \
    asm volatile(                                                                           \
        "{\n.reg .pred p;\nsetp.eq.u32 p, 1, 1;\nwgmma.mma_async.sync.aligned.m64n" columns \
        "k16.f32." type "." type " {" numbers "}, {%" a0 ",%" a1 ",%" a2 ",%" a3 "}, %" b   \
        ", p, 1, 1, " b_across ";\n}\n"                                                     \
        : __VA_ARGS__                                                                       \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_matrix))
#define ALEXNET_WGMMA_A_BFLOAT16(...) ALEXNET_WGMMA_A_16("bf16", "0", __VA_ARGS__)
#define ALEXNET_WGMMA_A_BFLOAT16_ACROSS(...) ALEXNET_WGMMA_A_16("bf16", "1", __VA_ARGS__)
#define ALEXNET_WGMMA_A_FLOAT16(...) ALEXNET_WGMMA_A_16("f16", "0", __VA_ARGS__)
#define ALEXNET_WGMMA_A_FLOAT16_ACROSS(...) ALEXNET_WGMMA_A_16("f16", "1", __VA_ARGS__)
#define ALEXNET_WGMMA_BFLOAT16(...) ALEXNET_WGMMA_16("bf16", __VA_ARGS__)
#define ALEXNET_WGMMA_FLOAT16(...) ALEXNET_WGMMA_16("f16", __VA_ARGS__)

// d += a · b: 64 × n by 64 × 8 and 8 × n. With q = lane / 4, c = lane % 4, a
// thread of warp w of the warpgroup holds, of rows from 16 w on,
//   a: (q, c), (q + 8, c), (q, c + 4), (q + 8, c + 4), whose 13 lowest bits are ignored
//   d: (q, 8 j + 2c), (q, 8 j + 2c + 1), (q + 8, 8 j + 2c), (q + 8, 8 j + 2c + 1) for each j < n / 8
// and b, K-major, lies where its descriptor says. Nothing of this may change before the wait.
template <int n>
__device__ __forceinline__ void wgmma_tf32(float (&d)[n / 2], const uint32_t (&a)[4],
                                           uint64_t b_matrix) {
    ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_TF32)
}

// The same with 16 depths, T Bfloat16 or Float16, and both operands where descriptors say: with
// neighbours along the depth (K-major), or across it.
template <class T, int n, bool a_along_depth, bool b_along_depth>
__device__ __forceinline__ void wgmma_16(float (&d)[n / 2], uint64_t a_matrix, uint64_t b_matrix) {
    if constexpr (std::is_same_v<T, Bfloat16>) {
        ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_BFLOAT16)
    } else {
        ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_FLOAT16)
    }
}

// The same with A in registers: those of tf32's eight depths, with two neighbouring depths in each.
template <class T, int n, bool b_along_depth>
__device__ __forceinline__ void wgmma_16(float (&d)[n / 2], const uint32_t (&a)[4],
                                         uint64_t b_matrix) {
    if constexpr (std::is_same_v<T, Bfloat16> && b_along_depth) {
        ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_A_BFLOAT16)
    } else if constexpr (std::is_same_v<T, Bfloat16>) {
        ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_A_BFLOAT16_ACROSS)
    } else if constexpr (b_along_depth) {
        ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_A_FLOAT16)
    } else {
        ALEXNET_FOR_COLUMNS(ALEXNET_WGMMA_A_FLOAT16_ACROSS)
    }
}

#undef ALEXNET_WGMMA_TF32
#undef ALEXNET_WGMMA_A_16
#undef ALEXNET_WGMMA_A_BFLOAT16
#undef ALEXNET_WGMMA_A_BFLOAT16_ACROSS
#undef ALEXNET_WGMMA_A_FLOAT16
#undef ALEXNET_WGMMA_A_FLOAT16_ACROSS
#undef ALEXNET_WGMMA_16
#undef ALEXNET_WGMMA_BFLOAT16
#undef ALEXNET_WGMMA_FLOAT16
#undef ALEXNET_FOR_COLUMNS

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_WGMMA_CUH_
