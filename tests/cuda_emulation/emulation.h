// How a kernel is run on the host: blocks one after the other, the threads of a block as fibers. The
// blocks of a cluster run together: each as far as it comes before the next one goes on, so that one
// is ahead of the other by as much as what they wait for allows.
//
// A fiber runs until it ends or waits: at a barrier of the block, or for the lanes of its warp in a
// shuffle or an mma. Which block is next, and which of the fibers that can run, is drawn from a
// seeded generator, so that what a kernel may not rely on (that a lower thread was earlier) does
// not hold, and a missing barrier shows in the result. Beyond that a launch fails, with a message,
// where
//   - threads of a block, or cluster, wait at different barriers, or some have ended while others wait,
//   - the lanes of a shuffle's mask do not all come to it,
//   - something is written just outside of the block's shared memory,
//   - an asynchronous copy is not aligned,
//   - something that hopper.h tells of is used wrongly.
// Shared memory is filled with NaN before each block, and the target of an asynchronous copy until
// a wait performs it. Arrays in global memory are the tests' own: guard their bounds there, or
// build with the address sanitizer, which knows the fibers' stacks and the end of shared memory as
// well. Races on global memory and between the accesses of one fiber's step are not found.

#ifndef ALEXNET_CUDA_EMULATION_H_
#define ALEXNET_CUDA_EMULATION_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
using uint3 = dim3;

// Of the thread that runs.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emulation {

constexpr int kMostShared = 227 * 1024;  // bytes a block, as on H100
int device_attribute(int which);  // 0: multiprocessors, 1: major, 2: minor compute capability
void* driver_function(const char* name);  // null if there is none

struct Launch {
    dim3 grid, block;
    unsigned cluster;  // blocks along x
    size_t shared_bytes;
    const void* kernel;
};

// Of the running thread: in its warp, in its block, and its block in the cluster.
int lane();
unsigned thread_number();
unsigned block_rank();
bool has_ended(unsigned rank);  // all threads of a block of the cluster

// End the launch with a message.
[[noreturn]] void fail(const std::string& message);

// A place in the source where threads wait for each other.
struct Place {
    const char* file;
    int line;
};

bool is_possible(const Launch& launch);
// Run `body` for every thread; false if that failed, for the reason that last_fault() tells.
bool run(const Launch& launch, const std::function<void()>& body);
const char* last_fault();
void set_seed(uint64_t seed);

void* shared_memory();
void wait_for_block(Place place);
void wait_for_cluster(Place place);
void wait_for_warp(unsigned mask, Place place);
// Go on once `done` says so; `what` names what is waited for, should that never come.
void wait_until(const std::function<bool()>& done, const char* what, Place place);

// Deposit `size` bytes, wait for the lanes of `mask`, and give all lanes' deposits, kLaneBytes
// apart. They stay until the warp's next wait.
constexpr size_t kLaneBytes = 48;
const unsigned char* deposit(unsigned mask, const void* value, size_t size, Place place);

void note_shuffle();  // of the running thread, for counting.h

template <typename T>
T exchange(unsigned mask, T value, int source, Place place) {
    static_assert(sizeof(T) <= kLaneBytes);
    T result;
    note_shuffle();
    std::memcpy(&result, deposit(mask, &value, sizeof(T), place) + source * kLaneBytes, sizeof(T));
    return result;
}

template <typename To, typename From>
To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}

void note_product();  // that the running thread takes part in an mma, for counting.h

// An asynchronous copy of the running thread; null copies zeros.
void start_copy(void* target, const void* source, size_t bytes, bool through_l1);
void commit_copies();
void wait_for_copies(int groups);  // all but the last `groups`

}  // namespace emulation

#endif  // ALEXNET_CUDA_EMULATION_H_
