// What Hopper adds, emulated: clusters, mbarriers, copies of tensors, products of warpgroups, two
// proxies.
//
// Whatever goes on without a thread, copies of tensors, does so as late as it can: only when no
// thread can go on, in an order drawn from the seeded generator. Until then its target is NaN. A
// warpgroup's product is performed when it is waited for; until then its accumulators are NaN.
// Shared memory exists twice: as ordinary accesses see it, and as the asynchronous proxy does, with
// which wgmma reads. Copies of tensors write to both; ordinary writes come to the second with
// fence_proxy_async alone, and are NaN there before. Each block of a cluster has its own; the others
// reach it by a copy with a mask, at the same address, and by arriving at an mbarrier of it.
//
// With ALEXNET_EMULATED_STRICT a fence stands for the writes of its own thread alone, though others
// that it has waited for are ordered by it on a device as well, and who arrives at an mbarrier lets
// others go on before itself. That takes longer.
//
// Beyond that a launch fails, with a message, where
//   - an mbarrier is used that was not initialised, not fenced after that, for the cluster where
//     another block uses it, or was overwritten; more threads arrive than it expects; a phase that is
//     waited for never ends,
//   - a rank or a mask names a block that the cluster has not, or one that has ended,
//   - the target of a copy is not aligned, nor the place in a row of its tensor where it begins, or
//     copies are on their way when the block ends,
//   - a matrix is none of the canonical layouts: patterns not aligned, a part of a span,
//   - registers are handed over that a block does not have, or not by whole warpgroups,
//   - the lanes of a warp, or the warps of a warpgroup, do not call the same products,
//   - wgmma_fence is missing before the first product on accumulators, or before registers of A,
//   - accumulators, registers of A, or the shared memory of operands change before the wait,
//   - a thread ends with products on their way.
//
// From the PTX ISA 9.0: "Parallel synchronization and communication: mbarrier", "Tensors" (im2col
// mode, swizzling), "Asynchronous warpgroup level matrix instructions" (fragments, canonical
// layouts, matrix descriptor). tf32 has K-major matrices alone, 16 bits have both kinds.

#ifndef ALEXNET_CUDA_EMULATION_HOPPER_H_
#define ALEXNET_CUDA_EMULATION_HOPPER_H_

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "alexnet/storage.h"
#include "emulation.h"

namespace emulation::hopper {

// --- from the scheduler ----------------------------------------------------------------------------

// Blocks that run together, of so many threads each, and their shared memories.
void begin_blocks(size_t threads, const std::vector<unsigned char*>& shared, size_t bytes);
bool progress(std::mt19937_64& order);  // one step of what goes on without a thread; false: nothing
std::string end_blocks();               // what was left undone, or nothing
void note_writes(unsigned rank, unsigned thread);  // after a thread has run

// --- shared memory ---------------------------------------------------------------------------------

// Where a block's shared memory begins, as on a device no multiple of what swizzles want.
constexpr uint32_t kSharedStart = 0x410;
uint32_t shared_address(const void* pointer);
// What the asynchronous proxy sees of the running thread's block; fails if that is outside.
unsigned char* asynchronous(uint32_t address, size_t bytes);
void fence_proxy_async();
// An address with its 16-byte chunks permuted, in spans of 32, 64 or 128 bytes (0: not at all).
inline uint32_t swizzled(uint32_t address, uint32_t span) {
    return span == 0 ? address : address ^ ((address >> 7) & (span / 16 - 1)) << 4;
}

// --- mbarriers and copies of tensors ---------------------------------------------------------------

void init_barrier(const void* barrier, uint32_t count);
void fence_barrier_init();  // for the cluster
void arrive(const void* barrier, uint32_t rank, uint32_t expected_bytes, Place place);
void wait_for_phase(const void* barrier, uint32_t parity, Place place);
struct Coordinates {
    int at[kMostTensorDimensions];  // fastest dimension first
    uint16_t offset[3];             // of the tap: im2col mode only
};
// To all blocks whose rank's bit is set in the mask.
void copy_tensor(void* target, const CUtensorMap& map, const void* barrier, Coordinates where,
                 uint32_t mask);
// Fails unless the map is of so many dimensions, and of windows or not.
void expect_map(const CUtensorMap& map, unsigned rank, bool windows);

// --- products of warpgroups ------------------------------------------------------------------------

enum class Operands { kTf32, kBfloat16, kFloat16 };
// A matrix in shared memory, with neighbours along the depth (K-major) or across it (MN-major).
struct InShared {
    uint64_t descriptor;
    bool along_depth;
    bool operator==(const InShared& other) const {
        return descriptor == other.descriptor && along_depth == other.along_depth;
    }
};
// d (64 × n, this thread's n / 2 elements) += a · b. A comes from the registers `a`, else, if that is
// null, from `matrix_a`.
void multiply(Operands type, int n, float* d, const uint32_t* a, InShared matrix_a,
              InShared matrix_b, Place place);
void fence_products();
void commit_products();
void wait_for_products(int groups, Place place);  // all but the last `groups`
void begin_products(size_t blocks, size_t threads);
std::string unfinished_products();

// --- registers -------------------------------------------------------------------------------------

// Those of a kernel compiled for one block of as many threads as are launched a multiprocessor.
void begin_registers(size_t blocks, size_t threads);
void set_registers(int registers, bool raise);
std::string wrong_registers();  // what the blocks did that no device would go on after, or nothing

}  // namespace emulation::hopper

namespace alexnet::cuda {

inline unsigned shared_address(const void* pointer) {
    return emulation::hopper::shared_address(pointer);
}

inline uint32_t cluster_rank() { return emulation::block_rank(); }
inline void cluster_barrier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::wait_for_cluster({file, line});
}

inline void mbarrier_init(uint64_t* barrier, uint32_t count) {
    emulation::hopper::init_barrier(barrier, count);
}
inline void fence_mbarrier_init() { emulation::hopper::fence_barrier_init(); }
inline void mbarrier_arrive(uint64_t* barrier, uint32_t rank, const char* file = __builtin_FILE(),
                            int line = __builtin_LINE()) {
    emulation::hopper::arrive(barrier, rank, 0, {file, line});
}
inline void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes,
                                   const char* file = __builtin_FILE(),
                                   int line = __builtin_LINE()) {
    emulation::hopper::arrive(barrier, cluster_rank(), bytes, {file, line});
}
inline void mbarrier_wait(uint64_t* barrier, uint32_t parity, const char* file = __builtin_FILE(),
                          int line = __builtin_LINE()) {
    emulation::hopper::wait_for_phase(barrier, parity, {file, line});
}
inline void fence_proxy_async() { emulation::hopper::fence_proxy_async(); }

inline void tensor_multicast(void* shared, const CUtensorMap& map, uint64_t* barrier, int x, int y,
                             uint16_t mask) {
    emulation::hopper::expect_map(map, 2, false);
    emulation::hopper::copy_tensor(shared, map, barrier, {{x, y}, {}}, mask);
}
inline void tensor_multicast(void* shared, const CUtensorMap& map, uint64_t* barrier, int x, int y,
                             int z, uint16_t mask) {
    emulation::hopper::expect_map(map, 3, false);
    emulation::hopper::copy_tensor(shared, map, barrier, {{x, y, z}, {}}, mask);
}
template <class... Coordinates>
void tensor_copy(void* shared, const CUtensorMap& map, uint64_t* barrier, Coordinates... at) {
    tensor_multicast(shared, map, barrier, at..., static_cast<uint16_t>(1u << cluster_rank()));
}
inline void tensor_copy_windows(void* shared, const CUtensorMap& map, uint64_t* barrier, int c,
                                int w, int h, int n, uint16_t right, uint16_t down) {
    emulation::hopper::expect_map(map, 4, true);
    emulation::hopper::copy_tensor(shared, map, barrier, {{c, w, h, n}, {right, down}},
                                   1u << cluster_rank());
}

inline void wgmma_fence() { emulation::hopper::fence_products(); }
template <int products>
void wgmma_fence(const uint32_t (&)[products][4]) {
    emulation::hopper::fence_products();
}
inline void wgmma_commit() { emulation::hopper::commit_products(); }
template <int groups>
void wgmma_wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::hopper::wait_for_products(groups, {file, line});
}
template <int n>
void wgmma_tf32(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b,
                const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::hopper::multiply(emulation::hopper::Operands::kTf32, n, d, a, {}, {b, true},
                                {file, line});
}
template <class T>
constexpr auto kOperands = std::is_same_v<T, Bfloat16> ? emulation::hopper::Operands::kBfloat16
                                                       : emulation::hopper::Operands::kFloat16;
template <class T, int n, bool b_along_depth>
void wgmma_16(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b,
              const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    emulation::hopper::multiply(kOperands<T>, n, d, a, {}, {b, b_along_depth}, {file, line});
}
template <class T, int n, bool a_along_depth, bool b_along_depth>
void wgmma_16(float (&d)[n / 2], uint64_t a, uint64_t b, const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
    emulation::hopper::multiply(kOperands<T>, n, d, nullptr, {a, a_along_depth}, {b, b_along_depth},
                                {file, line});
}

template <int registers>
void raise_registers() {
    static_assert(registers % 8 == 0 && registers >= 24 && registers <= 256);
    emulation::hopper::set_registers(registers, true);
}
template <int registers>
void lower_registers() {
    static_assert(registers % 8 == 0 && registers >= 24 && registers <= 256);
    emulation::hopper::set_registers(registers, false);
}

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_EMULATION_HOPPER_H_
