// What a kernel does to memory, counted while it is emulated: what disassembly can't say.
//
// The kernels are compiled with the hooks of the thread sanitizer (ALEXNET_COUNT in CMakeLists.txt)
// but linked with ours, which note every access: its address, its size and the instruction. Lanes
// of a warp belong to one request where they came to the same instruction by the same calls, and for
// the same time in the innermost of them: as on a device whose lanes go on together after a branch.
//
//   sector      32 bytes of global memory, aligned: what a request costs is the sectors it touches
//   wavefront   one turn of shared memory: 32 banks of 4 bytes. Requests of 8 bytes a lane are
//               served 16 lanes at a time, of 16 bytes 8 at a time; each of them takes as many
//               wavefronts as the busiest bank has different words. More than one is a conflict.
//
// Only kernels that the build compiled with the hooks are counted, and only between `start` and
// `stop`: the tests' own build has neither hooks nor cost.

#ifndef ALEXNET_CUDA_EMULATION_COUNTING_H_
#define ALEXNET_CUDA_EMULATION_COUNTING_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <unordered_set>
#include <vector>

#include "emulation.h"

namespace emulation::counting {

enum class Space { kGlobal, kShared };

// What one instruction did, over all warps and blocks that were run.
struct Access {
    size_t requests = 0, lanes = 0, bytes = 0;
    size_t units = 0;  // sectors or wavefronts
    size_t least = 0;  // units, were the same bytes neighbours and free of conflicts
};

// The instruction's place in the module, space, whether it writes, whether it is an asynchronous
// copy, and bytes a lane.
using Site = std::tuple<size_t, Space, bool, bool, size_t>;

struct Counts {
    Launch launch;
    size_t kernel;  // its place in the module
    size_t blocks = 0;
    std::map<Site, Access> accesses;
    // Different ones, counted anew in every block, or cluster.
    size_t read_sectors = 0, written_sectors = 0;
    size_t l1_sectors = 0;       // of read_sectors, those that are read through L1
    size_t bypassing_units = 0;  // sectors of requests that read past L1
    size_t memory_sectors = 0;   // different ones of all blocks: of what is read, and is written
    size_t barriers = 0;         // of blocks
    size_t warp_products = 0;    // mma, counted once a warp
    size_t shuffles = 0;         // of all threads
    size_t multiply_adds = 0;    // fmaf, of all threads
    size_t waits = 0;            // for asynchronous copies, of all threads
    size_t warpgroup_fma = 0;    // of wgmma
    size_t bytes_in_flight = 0;  // of a block's asynchronous copies: each thread's most, together
};

// --- from outside ----------------------------------------------------------------------------------

// Run only `sample` blocks, or clusters, of each launch from now on, spread evenly over the grid; none: 0.
void start(size_t sample);
std::vector<Counts> stop();

// --- from the emulation ----------------------------------------------------------------------------

bool is_on();
size_t clusters_to_run(size_t clusters);
void begin_launch(const Launch& launch);
// Blocks that run together, of so many threads each, and their shared memories.
void begin_blocks(size_t threads, const std::vector<unsigned char*>& shared, size_t shared_bytes);
void end_blocks();

// Where the running thread, counted over the blocks, has what is no memory of the device.
void select_thread(unsigned number, const void* stack, size_t stack_bytes);
void exclude(const void* memory, size_t bytes);

void note(const void* address, size_t bytes, bool writes, bool copies, const void* instruction,
          bool through_l1 = true);
void enter(const void* caller);  // a function of the kernel
void leave();
void flush();  // all threads wait: what they did since they last did belongs together
void note_barrier();
void note_warp_product();
void note_shuffle();
void note_multiply_add();
void note_copy_started(size_t bytes);
void note_wait(size_t bytes_arrived);

// What is done at once for many threads is noted as accesses of 128 bytes: a copied tensor, by the
// runs of global memory that it reads and the bytes of shared memory, of all blocks, that it writes; and a product
// of a warpgroup, by what it reads of shared memory.
constexpr size_t kBulkBytes = 128;
struct Run {
    const void* memory;
    size_t bytes;
};
void note_tensor_copy(const std::vector<Run>& runs, size_t bytes, const void* instruction);
void note_warpgroup_product(size_t fma, size_t bytes, const void* instruction);

}  // namespace emulation::counting

#endif  // ALEXNET_CUDA_EMULATION_COUNTING_H_
