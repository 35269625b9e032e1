// Of hopper.h: shared memory seen twice, of each block of a cluster; mbarriers, and copies of tensors.

#include "hopper.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "counting.h"

namespace emulation::hopper {
namespace {

constexpr unsigned char kPoison = 0xff;
constexpr size_t kBarrierBytes = 8;

struct Barrier {
    uint32_t count;
    int64_t pending;       // arrivals of the current phase that are missing
    int64_t bytes = 0;     // that it expects and that have not come
    uint64_t phase = 0;    // phases that have ended
    unsigned initialiser;  // the thread
    bool fenced = false;   // by that thread: the asynchronous proxy sees it
    bool known = false;    // by that thread: the cluster sees it

    void check_phase() {
        if (pending > 0 || bytes != 0) return;
        ++phase;
        pending = count;
    }
};

struct Copy {
    uint32_t target;
    CUtensorMap map;
    uint32_t barrier;
    Coordinates where;
    std::vector<unsigned> ranks;  // of the blocks that it goes to
};

constexpr uint16_t kNobody = 0xffff;

struct Block {
    unsigned char* shared;
    std::vector<unsigned char> proxy;  // what the asynchronous proxy sees; empty until it is used
    std::map<uint32_t, Barrier> barriers;
    // Where it is strict: shared memory as it was, and which thread has written a byte, unfenced.
    std::vector<unsigned char> before;
    std::vector<uint16_t> writers;

    unsigned char* ordinary(uint32_t address) { return shared + (address - kSharedStart); }
    unsigned char* asynchronous(uint32_t address);
};

std::vector<Block> blocks;
size_t shared_bytes = 0;  // of each
bool is_strict = false;
std::vector<Copy> copies;
std::string late;  // a fault that no thread made

unsigned char* Block::asynchronous(uint32_t address) {
    if (proxy.empty()) proxy.assign(std::max<size_t>(shared_bytes, 1), kPoison);
    return proxy.data() + (address - kSharedStart);
}

Block& here() { return blocks[block_rank()]; }

// Note what has changed since this was called last as that thread's.
void note(Block& block, uint16_t thread) {
    constexpr size_t kPiece = 256;
    for (size_t first = 0; first < shared_bytes; first += kPiece) {
        const size_t end = std::min(first + kPiece, shared_bytes);
        if (std::memcmp(&block.before[first], block.shared + first, end - first) == 0) continue;
        for (size_t i = first; i < end; ++i) {
            if (block.before[i] == block.shared[i]) continue;
            block.before[i] = block.shared[i];
            block.writers[i] = thread;
        }
    }
}

bool is_outside(uint32_t address, size_t bytes) {
    return address < kSharedStart || address - kSharedStart + bytes > shared_bytes;
}

uint64_t tag(uint32_t address) { return 0x6d62617272696572 ^ address; }

// Of the block of this rank, for the running thread.
Barrier& barrier_at(unsigned rank, uint32_t address) {
    if (rank >= blocks.size()) fail("a rank that the cluster has not");
    if (has_ended(rank)) fail("shared memory is used of a block that has ended");
    const auto found = blocks[rank].barriers.find(address);
    if (found == blocks[rank].barriers.end()) fail("an mbarrier is used that was not initialised");
    uint64_t value;
    std::memcpy(&value, blocks[rank].ordinary(address), sizeof value);
    if (value != tag(address)) fail("an mbarrier was overwritten");
    Barrier& barrier = found->second;
    if (rank != block_rank() && !barrier.known) {
        fail("an mbarrier's initialisation was not fenced for the cluster");
    }
    return barrier;
}

uint32_t row_bytes(const CUtensorMap& map) {
    return (map.windows ? map.channels : map.box[0]) * map.element;
}

size_t rows_of(const CUtensorMap& map) {
    if (map.windows) return map.pixels;
    size_t rows = 1;
    for (unsigned i = 1; i < map.rank; ++i) rows *= (map.box[i] + map.step[i] - 1) / map.step[i];
    return rows;
}

// Calls use(row of the box, coordinates of its first element) in the order of shared memory.
template <class Use>
void for_each_row(const CUtensorMap& map, const Coordinates& where, Use use) {
    int at[kMostTensorDimensions];
    std::copy(std::begin(where.at), std::end(where.at), at);
    const auto step = [&](unsigned i) { return static_cast<int>(map.step[i]); };
    for (size_t row = 0; row < rows_of(map); ++row) {
        use(row, at);
        if (map.windows) {  // on along w, then h, then d, within the box; then to the next image
            unsigned i = 1;
            for (; i < map.rank - 1; ++i) {
                at[i] += step(i);
                if (at[i] < static_cast<int>(map.size[i]) + map.upper[i - 1]) break;
                at[i] = map.lower[i - 1];
            }
            if (i == map.rank - 1) ++at[i];
        } else {
            for (unsigned i = 1; i < map.rank; ++i) {
                at[i] += step(i);
                if (at[i] < where.at[i] + static_cast<int>(map.box[i])) break;
                at[i] = where.at[i];
            }
        }
    }
}

// The element's place in memory, or null if it is outside of the tensor.
const unsigned char* element(const CUtensorMap& map, const int* at, const uint16_t* offset) {
    const unsigned char* place = map.data;
    for (unsigned i = 0; i < map.rank; ++i) {
        const bool tap = map.windows && i > 0 && i < map.rank - 1;
        const int64_t index = at[i] + (tap ? offset[i - 1] : 0);
        if (index < 0 || index >= static_cast<int64_t>(map.size[i])) return nullptr;
        place += static_cast<uint64_t>(index) * map.stride[i];
    }
    return place;
}

void perform(const Copy& copy) {
    const CUtensorMap& map = copy.map;
    const uint32_t width = row_bytes(map);
    for_each_row(map, copy.where, [&](size_t row, int* at) {
        const int begin = at[0];
        for (uint32_t byte = 0; byte < width; byte += map.element, ++at[0]) {
            const uint32_t plain = copy.target + static_cast<uint32_t>(row) * width + byte;
            const uint32_t address = swizzled(plain, map.swizzle);
            const unsigned char* source = element(map, at, copy.where.offset);
            for (const unsigned rank : copy.ranks) {
                unsigned char* target = blocks[rank].ordinary(address);
                if (source) {
                    std::memcpy(target, source, map.element);
                } else {
                    std::memset(target, 0, map.element);
                }
                std::memcpy(blocks[rank].asynchronous(address), target, map.element);
            }
        }
        at[0] = begin;
    });
    for (const unsigned rank : copy.ranks) {
        if (is_strict) note(blocks[rank], kNobody);
        if (has_ended(rank)) late = "a tensor is copied to a block that has ended";
        Barrier& barrier = blocks[rank].barriers.at(copy.barrier);
        barrier.bytes -= static_cast<int64_t>(rows_of(map) * width);
        barrier.check_phase();
    }
}

}  // namespace

void begin_blocks(size_t threads, const std::vector<unsigned char*>& shared, size_t bytes) {
    shared_bytes = bytes;
    blocks.clear();
    is_strict = std::getenv("ALEXNET_EMULATED_STRICT") != nullptr;
    for (unsigned char* memory : shared) {
        blocks.push_back({memory, {}, {}, {}, {}});
        if (!is_strict) continue;
        blocks.back().before.assign(memory, memory + bytes);
        blocks.back().writers.assign(bytes, kNobody);
    }
    copies.clear();
    late.clear();
    begin_products(blocks.size(), threads);
    begin_registers(blocks.size(), threads);
}

bool progress(std::mt19937_64& order) {
    if (copies.empty()) return false;
    std::swap(copies[order() % copies.size()], copies.back());
    const Copy copy = copies.back();
    copies.pop_back();
    perform(copy);
    return true;
}

std::string end_blocks() {
    if (!copies.empty()) return "copies of tensors are on their way when the block ends";
    if (late.empty()) late = unfinished_products();
    return late.empty() ? wrong_registers() : late;
}

uint32_t shared_address(const void* pointer) {
    const auto* place = static_cast<const unsigned char*>(pointer);
    const unsigned char* shared = here().shared;
    if (place < shared || place >= shared + shared_bytes) fail("an address is not shared memory's");
    return kSharedStart + static_cast<uint32_t>(place - shared);
}

unsigned char* asynchronous(uint32_t address, size_t bytes) {
    if (is_outside(address, bytes)) fail("a matrix descriptor leads outside of shared memory");
    return here().asynchronous(address);
}

void note_writes(unsigned rank, unsigned thread) {
    if (is_strict) note(blocks[rank], static_cast<uint16_t>(thread));
}

void fence_proxy_async() {
    if (is_strict) {
        Block& block = here();
        const auto thread = static_cast<uint16_t>(thread_number());
        note(block, thread);
        unsigned char* proxy = block.asynchronous(kSharedStart);
        for (size_t i = 0; i < shared_bytes; ++i) {
            if (block.writers[i] != thread) continue;
            proxy[i] = block.shared[i];
            block.writers[i] = kNobody;
        }
    } else {
        std::memcpy(here().asynchronous(kSharedStart), here().shared, shared_bytes);
    }
    for (auto& [address, barrier] : here().barriers) {
        if (barrier.initialiser == thread_number()) barrier.fenced = true;
    }
}

void fence_barrier_init() {
    for (auto& [address, barrier] : here().barriers) {
        if (barrier.initialiser == thread_number()) barrier.known = true;
    }
}

void init_barrier(const void* pointer, uint32_t count) {
    const uint32_t address = shared_address(pointer);
    if (address % kBarrierBytes != 0) fail("an mbarrier is not aligned to 8 bytes");
    const uint64_t value = tag(address);
    std::memcpy(here().ordinary(address), &value, sizeof value);
    here().barriers[address] = {count, count, 0, 0, thread_number(), false, false};
}

void arrive(const void* pointer, uint32_t rank, uint32_t expected_bytes, Place place) {
    Barrier& barrier = barrier_at(rank, shared_address(pointer));
    barrier.bytes += expected_bytes;
    if (--barrier.pending < 0) fail("more threads arrive at an mbarrier than it expects");
    barrier.check_phase();
    if (is_strict) wait_until([] { return true; }, "nothing", place);
}

void wait_for_phase(const void* pointer, uint32_t parity, Place place) {
    if (parity > 1) fail("the parity of an mbarrier's phase is 0 or 1");
    const Barrier& barrier = barrier_at(block_rank(), shared_address(pointer));
    wait_until([&barrier, parity] { return (barrier.phase & 1) != parity; },
               "the end of an mbarrier's phase", place);
}

void expect_map(const CUtensorMap& map, unsigned rank, bool windows) {
    if (map.rank != rank || map.windows != windows) {
        fail("a tensor is copied with a map of another kind");
    }
}

void copy_tensor(void* target, const CUtensorMap& map, const void* pointer, Coordinates where,
                 uint32_t mask) {
    const uint32_t address = shared_address(target), width = row_bytes(map);
    const size_t bytes = rows_of(map) * width;
    Copy copy = {address, map, shared_address(pointer), where, {}};
    if (mask == 0 || mask >> blocks.size() != 0) fail("a mask of blocks that the cluster has not");
    for (unsigned rank = 0; rank < blocks.size(); ++rank) {
        if ((mask >> rank & 1) == 0) continue;
        if (!barrier_at(rank, copy.barrier).fenced) {
            fail("an mbarrier's initialisation was not fenced");
        }
        copy.ranks.push_back(rank);
    }
    if (address % 128 != 0) fail("the target of a copied tensor is not aligned to 128 bytes");
    if (static_cast<int64_t>(where.at[0]) * map.element % 16 != 0) {
        fail("a copied tensor begins at no multiple of 16 bytes of its rows");
    }
    if (map.swizzle != 0 && width != map.swizzle) fail("a row is shorter than the swizzle's span");
    if (map.swizzle != 0 && address % (8 * map.swizzle) != 0) {
        fail("the target of a copied tensor is not aligned to eight of the swizzle's spans");
    }
    if (is_outside(address, bytes)) fail("a tensor is copied to outside of shared memory");
    for (const unsigned rank : copy.ranks) {
        if (is_strict) note(blocks[rank], static_cast<uint16_t>(thread_number()));
        std::memset(blocks[rank].ordinary(address), kPoison, bytes);
        if (is_strict) note(blocks[rank], kNobody);
        std::memset(blocks[rank].asynchronous(address), kPoison, bytes);
    }
    copies.push_back(copy);
    if (!counting::is_on()) return;
    std::vector<counting::Run> runs;
    for_each_row(map, where, [&](size_t, int* at) {
        const int begin = at[0];
        for (uint32_t byte = 0; byte < width; byte += 16) {
            const unsigned char* source = element(map, at, where.offset);
            if (source) runs.push_back({source, 16});
            at[0] += static_cast<int>(16 / map.element);
        }
        at[0] = begin;
    });
    counting::note_tensor_copy(runs, bytes * copy.ranks.size(), __builtin_return_address(0));
}

}  // namespace emulation::hopper
