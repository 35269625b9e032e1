#include "counting.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <unordered_map>

// The first and one past the last byte of the module, as the linker places them.
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start, _end;

namespace emulation::counting {
namespace {

constexpr unsigned kWarp = 32;
constexpr size_t kSector = 32, kBanks = 32, kWord = 4;

struct Range {
    uintptr_t first = 0, end = 0;
    Range() = default;
    Range(const void* memory, size_t bytes)
        : first(reinterpret_cast<uintptr_t>(memory)), end(first + bytes) {}
    bool has(uintptr_t address) const { return first <= address && address < end; }
};

struct Event {
    size_t turn;  // the same in all lanes that a device would serve together
    size_t instruction;
    uintptr_t address;
    size_t bytes;
    bool writes, copies, through_l1;
};

// One request: what its lanes access.
using Request = std::vector<Event>;

bool on = false;
size_t sample = 0;  // of a launch's clusters
std::vector<Counts> launches;
std::vector<std::vector<Event>> logs;  // of each thread, since it last waited
unsigned thread = 0;
std::vector<Range> shared;  // of each block
Range thread_stack, host_stack, excluded;
std::unordered_set<uintptr_t> read, read_through_l1, written;  // sectors of the running blocks
std::unordered_set<uintptr_t> all_read, all_written;           // of the launch
struct Flight {
    size_t bytes = 0, most = 0;
};
std::vector<Flight> flights;  // asynchronous copies of each thread

Range stack_of_host() {
    pthread_attr_t attributes;
    void* lowest = nullptr;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return {};
    pthread_attr_getstack(&attributes, &lowest, &bytes);
    pthread_attr_destroy(&attributes);
    return {lowest, bytes};
}

bool is_shared(uintptr_t address) {
    return std::any_of(shared.begin(), shared.end(), [&](Range r) { return r.has(address); });
}

size_t place(const void* address) {
    return reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(&__ehdr_start);
}

size_t distinct(std::vector<uintptr_t> values) {
    std::sort(values.begin(), values.end());
    return static_cast<size_t>(std::unique(values.begin(), values.end()) - values.begin());
}

size_t wavefronts_of(const std::vector<uintptr_t>& words) {
    std::array<std::vector<uintptr_t>, kBanks> banks;
    for (const uintptr_t word : words) banks[word % kBanks].push_back(word);
    size_t most = 0;
    for (const auto& bank : banks) most = std::max(most, distinct(bank));
    return most;
}

void add_shared(Access& access, const Request& request, const std::vector<unsigned>& lanes) {
    const size_t width = std::max(request[0].bytes, kWord);
    const size_t together = kWarp * kWord / width;  // lanes served at once
    for (size_t first = 0; first < kWarp; first += together) {
        std::vector<uintptr_t> words;
        for (size_t i = 0; i < request.size(); ++i) {
            if (lanes[i] < first || lanes[i] >= first + together) continue;
            for (size_t byte = 0; byte < request[i].bytes; byte += kWord) {
                words.push_back((request[i].address + byte) / kWord);
            }
        }
        access.units += wavefronts_of(words);
        access.least += !words.empty();
    }
}

void add_global(Access& access, const Request& request) {
    std::vector<uintptr_t> sectors, bytes;
    for (const Event& event : request) {
        for (uintptr_t byte = event.address; byte < event.address + event.bytes; ++byte) {
            bytes.push_back(byte);
        }
        const uintptr_t last = (event.address + event.bytes - 1) / kSector;
        for (uintptr_t sector = event.address / kSector; sector <= last; ++sector) {
            sectors.push_back(sector);
            (event.writes ? written : read).insert(sector);
            if (!event.writes && event.through_l1) read_through_l1.insert(sector);
        }
    }
    const size_t units = distinct(sectors);
    access.units += units;
    if (!request[0].writes && !request[0].through_l1) launches.back().bypassing_units += units;
    access.least += (distinct(bytes) + kSector - 1) / kSector;
}

void add(const Request& request, const std::vector<unsigned>& lanes) {
    const Event& first = request[0];
    const Space space = is_shared(first.address) ? Space::kShared : Space::kGlobal;
    Access& access =
        launches.back()
            .accesses[Site(first.instruction, space, first.writes, first.copies, first.bytes)];
    ++access.requests;
    access.lanes += request.size();
    for (const Event& event : request) access.bytes += event.bytes;
    if (space == Space::kShared) {
        add_shared(access, request, lanes);
    } else {
        add_global(access, request);
    }
}

void flush_warp(size_t begin, size_t end) {
    std::unordered_map<size_t, std::pair<Request, std::vector<unsigned>>> requests;
    for (size_t t = begin; t < end; ++t) {
        for (const Event& event : logs[t]) {
            auto& [request, lanes] = requests[event.turn];
            request.push_back(event);
            lanes.push_back(static_cast<unsigned>(t - begin));
        }
        logs[t].clear();
    }
    for (const auto& [turn, value] : requests) add(value.first, value.second);
}

size_t mixed(size_t a, size_t b) {  // as splitmix64
    size_t h = (a + 0x9e3779b97f4a7c15) ^ (b * 0xff51afd7ed558ccd);
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9;
    h = (h ^ h >> 27) * 0x94d049bb133111eb;
    return h ^ h >> 31;
}

// A call that a thread is in: how it came there, and how often it ran each instruction since.
struct Call {
    size_t way;
    std::vector<std::pair<size_t, size_t>> times;

    size_t turn(size_t instruction) {
        for (auto& [other, count] : times) {
            if (other == instruction) return mixed(mixed(way, instruction), ++count);
        }
        times.emplace_back(instruction, 0);
        return mixed(mixed(way, instruction), 0);
    }
};
std::vector<std::vector<Call>> calls;  // of each thread

}  // namespace

void start(size_t clusters) {
    on = true;
    sample = clusters;
    launches.clear();
    host_stack = stack_of_host();
}

std::vector<Counts> stop() {
    on = false;
    return std::move(launches);
}

bool is_on() { return on; }
size_t clusters_to_run(size_t clusters) { return on ? std::min(clusters, sample) : clusters; }

void begin_launch(const Launch& launch) {
    if (!on) return;
    launches.emplace_back();
    launches.back().launch = launch;
    launches.back().kernel = place(launch.kernel);
    all_read.clear();
    all_written.clear();
}

void begin_blocks(size_t threads, const std::vector<unsigned char*>& memory, size_t shared_bytes) {
    if (!on) return;
    const size_t all = threads * memory.size();
    logs.assign(all, {});
    calls.assign(all, {{0, {}}});
    shared.clear();
    for (const unsigned char* block : memory) shared.emplace_back(block, shared_bytes);
    read.clear();
    read_through_l1.clear();
    written.clear();
    flights.assign(all, {});
    launches.back().blocks += memory.size();
}

void end_blocks() {
    if (!on) return;
    launches.back().read_sectors += read.size();
    launches.back().l1_sectors += read_through_l1.size();
    launches.back().written_sectors += written.size();
    all_read.insert(read.begin(), read.end());
    all_written.insert(written.begin(), written.end());
    launches.back().memory_sectors = all_read.size() + all_written.size();
    logs.clear();
    size_t most = 0;
    for (const Flight& flight : flights) most += flight.most;
    launches.back().bytes_in_flight =
        std::max(launches.back().bytes_in_flight, most / shared.size());
}

void select_thread(unsigned number, const void* stack, size_t stack_bytes) {
    thread = number;
    thread_stack = Range(stack, stack_bytes);
}

void exclude(const void* memory, size_t bytes) { excluded = Range(memory, bytes); }

void note(const void* memory, size_t bytes, bool writes, bool copies, const void* instruction,
          bool through_l1) {
    if (!on || logs.empty()) return;
    static const Range module(&__ehdr_start, static_cast<size_t>(&_end - &__ehdr_start));
    const auto address = reinterpret_cast<uintptr_t>(memory);
    if (thread_stack.has(address) || module.has(address)) return;
    if (host_stack.has(address) || excluded.has(address)) return;
    const size_t where = place(instruction);
    // A copy's two accesses are of one instruction; which is which, is told apart by what it does.
    const size_t turn = calls[thread].back().turn(4 * where + 2 * writes + is_shared(address));
    logs[thread].push_back({turn, where, address, bytes, writes, copies, through_l1});
}

void flush() {
    if (!on) return;
    for (size_t begin = 0; begin < logs.size(); begin += kWarp) {
        flush_warp(begin, std::min(begin + kWarp, logs.size()));
    }
}

void enter(const void* caller) {
    if (!on || logs.empty()) return;
    auto& stack = calls[thread];
    stack.push_back({stack.back().turn(4 * place(caller)), {}});
}

void leave() {
    if (on && !logs.empty() && calls[thread].size() > 1) calls[thread].pop_back();
}

void note_barrier() {
    if (on) ++launches.back().barriers;
}

void note_warp_product() {
    if (on && thread % kWarp == 0) ++launches.back().warp_products;
}

void note_shuffle() {
    if (on) ++launches.back().shuffles;
}

void note_multiply_add() {
    if (on && !logs.empty()) ++launches.back().multiply_adds;
}

void note_copy_started(size_t bytes) {
    if (!on) return;
    Flight& flight = flights[thread];
    flight.bytes += bytes;
    flight.most = std::max(flight.most, flight.bytes);
}

void note_wait(size_t bytes_arrived) {
    if (!on) return;
    flights[thread].bytes -= bytes_arrived;
    ++launches.back().waits;
}

namespace {

// Shared memory that is accessed at once, without conflicts.
void add_bulk(const void* instruction, bool writes, bool copies, size_t bytes) {
    const Site site(place(instruction), Space::kShared, writes, copies, kBulkBytes);
    Access& access = launches.back().accesses[site];
    const size_t wavefronts = (bytes + kBulkBytes - 1) / kBulkBytes;
    access.requests += 1;
    access.bytes += bytes;
    access.units += wavefronts;
    access.least += wavefronts;
}

}  // namespace

void note_tensor_copy(const std::vector<Run>& runs, size_t bytes, const void* instruction) {
    if (!on) return;
    add_bulk(instruction, true, true, bytes);
    std::vector<uintptr_t> sectors;
    size_t read_bytes = 0;
    for (const Run& run : runs) {
        const Range range(run.memory, run.bytes);
        for (uintptr_t s = range.first / kSector; s <= (range.end - 1) / kSector; ++s) {
            sectors.push_back(s);
            read.insert(s);
        }
        read_bytes += run.bytes;
    }
    const Site site(place(instruction), Space::kGlobal, false, true, kBulkBytes);
    Access& access = launches.back().accesses[site];
    access.requests += 1;
    access.bytes += read_bytes;
    const size_t units = distinct(sectors);
    access.units += units;
    launches.back().bypassing_units += units;
    access.least += (read_bytes + kSector - 1) / kSector;
}

void note_warpgroup_product(size_t fma, size_t bytes, const void* instruction) {
    if (!on) return;
    launches.back().warpgroup_fma += fma;
    add_bulk(instruction, false, false, bytes);
}

}  // namespace emulation::counting

// --- what the compiler calls before every access ---------------------------------------------------

#define ALEXNET_COUNT_ACCESS(name, bytes, writes)                                              \
    extern "C" __attribute__((visibility("hidden"))) void name(const void* address) {          \
        emulation::counting::note(address, bytes, writes, false, __builtin_return_address(0)); \
    }
#define ALEXNET_COUNT_SIZE(bytes)                                    \
    ALEXNET_COUNT_ACCESS(__tsan_read##bytes, bytes, false)           \
    ALEXNET_COUNT_ACCESS(__tsan_write##bytes, bytes, true)           \
    ALEXNET_COUNT_ACCESS(__tsan_unaligned_read##bytes, bytes, false) \
    ALEXNET_COUNT_ACCESS(__tsan_unaligned_write##bytes, bytes, true)
ALEXNET_COUNT_SIZE(1)
ALEXNET_COUNT_SIZE(2)
ALEXNET_COUNT_SIZE(4)
ALEXNET_COUNT_SIZE(8)
ALEXNET_COUNT_SIZE(16)
#undef ALEXNET_COUNT_SIZE
#undef ALEXNET_COUNT_ACCESS

extern "C" {
#define ALEXNET_HIDDEN __attribute__((visibility("hidden")))
ALEXNET_HIDDEN void __tsan_read_range(const void* address, size_t bytes) {
    emulation::counting::note(address, bytes, false, false, __builtin_return_address(0));
}
ALEXNET_HIDDEN void __tsan_write_range(const void* address, size_t bytes) {
    emulation::counting::note(address, bytes, true, false, __builtin_return_address(0));
}
// Of the guards of local statics, the launchers' own.
ALEXNET_HIDDEN char __tsan_atomic8_load(const volatile char* address, int) {
    return __atomic_load_n(address, __ATOMIC_ACQUIRE);
}
ALEXNET_HIDDEN void __tsan_init() {}
ALEXNET_HIDDEN void __tsan_func_entry(void* caller) { emulation::counting::enter(caller); }
ALEXNET_HIDDEN void __tsan_func_exit(void*) { emulation::counting::leave(); }
ALEXNET_HIDDEN void __tsan_vptr_update(void**, void*) {}
ALEXNET_HIDDEN void __tsan_vptr_read(void**) {}
#undef ALEXNET_HIDDEN
}

#ifdef ALEXNET_COUNT
// --- what kernels call for a fused multiply-add ----------------------------------------------------

// Under this name the linker finds it before the library's.
__attribute__((visibility("hidden"))) float counted_fmaf(float a, float b, float c) asm("fmaf");

float counted_fmaf(float a, float b, float c) {
    using Function = float (*)(float, float, float);
    static const auto library = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "fmaf"));
    emulation::counting::note_multiply_add();
    return library(a, b, c);
}
#endif
