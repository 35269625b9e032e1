// Of hopper.h: shared memory seen twice, mbarriers, and copies of tensors.

#include "hopper.h"

#include <algorithm>
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

    void check_phase() {
        if (pending > 0 || bytes != 0) return;
        ++phase;
        pending = count;
    }
};

struct Copy {
    unsigned char* target;
    CUtensorMap map;
    uint32_t barrier;
    Coordinates where;
};

unsigned char* shared = nullptr;
size_t shared_bytes = 0;
std::vector<unsigned char> proxy;  // what the asynchronous proxy sees; empty until it is used
std::map<uint32_t, Barrier> barriers;
std::vector<Copy> copies;

void use_proxy() {
    if (proxy.empty()) proxy.assign(std::max<size_t>(shared_bytes, 1), kPoison);
}

uint64_t tag(uint32_t address) { return 0x6d62617272696572 ^ address; }

Barrier& barrier_at(const void* pointer) {
    const uint32_t address = shared_address(pointer);
    const auto found = barriers.find(address);
    if (found == barriers.end()) fail("an mbarrier is used that was not initialised");
    uint64_t value;
    std::memcpy(&value, pointer, sizeof value);
    if (value != tag(address)) fail("an mbarrier was overwritten");
    return found->second;
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
    const uint32_t first = shared_address(copy.target), width = row_bytes(map);
    for_each_row(map, copy.where, [&](size_t row, int* at) {
        const int begin = at[0];
        for (uint32_t byte = 0; byte < width; byte += map.element, ++at[0]) {
            const uint32_t plain = first + static_cast<uint32_t>(row) * width + byte;
            const uint32_t address = swizzled(plain, map.swizzle);
            unsigned char* target = shared + (address - kSharedStart);
            const unsigned char* source = element(map, at, copy.where.offset);
            if (source) {
                std::memcpy(target, source, map.element);
            } else {
                std::memset(target, 0, map.element);
            }
            std::memcpy(proxy.data() + (target - shared), target, map.element);
        }
        at[0] = begin;
    });
    Barrier& barrier = barriers.at(copy.barrier);
    barrier.bytes -= static_cast<int64_t>(rows_of(map) * width);
    barrier.check_phase();
}

}  // namespace

void begin_block(size_t threads, unsigned char* memory, size_t bytes) {
    shared = memory;
    shared_bytes = bytes;
    proxy.clear();
    barriers.clear();
    copies.clear();
    begin_products(threads);
}

bool progress(std::mt19937_64& order) {
    if (copies.empty()) return false;
    std::swap(copies[order() % copies.size()], copies.back());
    const Copy copy = copies.back();
    copies.pop_back();
    perform(copy);
    return true;
}

std::string end_block() {
    if (!copies.empty()) return "copies of tensors are on their way when the block ends";
    return unfinished_products();
}

uint32_t shared_address(const void* pointer) {
    const auto* place = static_cast<const unsigned char*>(pointer);
    if (place < shared || place >= shared + shared_bytes) fail("an address is not shared memory's");
    return kSharedStart + static_cast<uint32_t>(place - shared);
}

unsigned char* asynchronous(uint32_t address, size_t bytes) {
    use_proxy();
    if (address < kSharedStart || address - kSharedStart + bytes > shared_bytes) {
        fail("a matrix descriptor leads outside of shared memory");
    }
    return proxy.data() + (address - kSharedStart);
}

void fence_proxy_async() {
    use_proxy();
    std::memcpy(proxy.data(), shared, shared_bytes);
    for (auto& [address, barrier] : barriers) {
        if (barrier.initialiser == thread_number()) barrier.fenced = true;
    }
}

void init_barrier(const void* pointer, uint32_t count) {
    const uint32_t address = shared_address(pointer);
    if (address % kBarrierBytes != 0) fail("an mbarrier is not aligned to 8 bytes");
    const uint64_t value = tag(address);
    std::memcpy(shared + (address - kSharedStart), &value, sizeof value);
    barriers[address] = {count, count, 0, 0, thread_number(), false};
}

void arrive(const void* pointer, uint32_t expected_bytes) {
    Barrier& barrier = barrier_at(pointer);
    barrier.bytes += expected_bytes;
    if (--barrier.pending < 0) fail("more threads arrive at an mbarrier than it expects");
    barrier.check_phase();
}

void wait_for_phase(const void* pointer, uint32_t parity, Place place) {
    if (parity > 1) fail("the parity of an mbarrier's phase is 0 or 1");
    const Barrier& barrier = barrier_at(pointer);
    wait_until([&barrier, parity] { return (barrier.phase & 1) != parity; },
               "the end of an mbarrier's phase", place);
}

void expect_map(const CUtensorMap& map, unsigned rank, bool windows) {
    if (map.rank != rank || map.windows != windows) {
        fail("a tensor is copied with a map of another kind");
    }
}

void copy_tensor(void* target, const CUtensorMap& map, const void* pointer, Coordinates where) {
    use_proxy();
    const uint32_t address = shared_address(target), width = row_bytes(map);
    const size_t bytes = rows_of(map) * width;
    if (!barrier_at(pointer).fenced) fail("an mbarrier's initialisation was not fenced");
    if (address % 128 != 0) fail("the target of a copied tensor is not aligned to 128 bytes");
    if (map.swizzle != 0 && width != map.swizzle) fail("a row is shorter than the swizzle's span");
    if (map.swizzle != 0 && address % (8 * map.swizzle) != 0) {
        fail("the target of a copied tensor is not aligned to eight of the swizzle's spans");
    }
    asynchronous(address, bytes);
    std::memset(target, kPoison, bytes);
    std::memset(proxy.data() + (address - kSharedStart), kPoison, bytes);
    copies.push_back({static_cast<unsigned char*>(target), map, shared_address(pointer), where});
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
    counting::note_tensor_copy(runs, bytes, __builtin_return_address(0));
}

}  // namespace emulation::hopper
