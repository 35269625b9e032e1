#include "dispatch.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#if defined(ALEXNET_X86)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

namespace alexnet::cpu {
namespace {

#if defined(ALEXNET_X86)

// The registers that the operating system saves on a context switch (XCR0). Without its support an
// instruction faults, or loses data, on a processor that has it.
uint64_t saved_registers() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned kOsxsave = 1u << 27;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & kOsxsave)) return 0;
    unsigned low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<uint64_t>(high) << 32) | low;
}

bool has_avx2_fma() {
    constexpr uint64_t kXmmYmm = 0x6;
    constexpr unsigned kFma = 1u << 12, kAvx = 1u << 28, kAvx2 = 1u << 5;
    if ((saved_registers() & kXmmYmm) != kXmmYmm) return false;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (!(ecx & kFma) || !(ecx & kAvx)) return false;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & kAvx2);
}

bool has_avx512() {
    constexpr uint64_t kOpmaskZmm = 0xe6;
    constexpr unsigned kFoundation = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
    constexpr unsigned kAll = kFoundation | kDq | kBw | kVl;
    if (!has_avx2_fma() || (saved_registers() & kOpmaskZmm) != kOpmaskZmm) return false;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & kAll) == kAll;
}

bool has_bf16_dot() {
    constexpr unsigned kAvx512Bf16 = 1u << 5;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return has_avx512() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvx512Bf16);
}

// Linux gives a process the registers of AMX, 8 KiB a thread, when it asks for them.
bool is_given_tiles() {
    constexpr unsigned kAskForRegisters = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
#if defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, kAskForRegisters, kTileData) == 0;
#else
    return false;
#endif
}

bool has_bf16_tile() {
    constexpr uint64_t kTileRegisters = uint64_t{3} << 17;
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kBoth = kAmxBf16 | kAmxTile;
    if (!has_bf16_dot() || (saved_registers() & kTileRegisters) != kTileRegisters) return false;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & kBoth) == kBoth &&
           is_given_tiles();
}

#else

bool has_bf16_dot() { return false; }
bool has_bf16_tile() { return false; }

#endif  // ALEXNET_X86

// The best first.
std::vector<const KernelTable*> supported_tables() {
    std::vector<const KernelTable*> tables;
#if defined(ALEXNET_X86)
    if (has_avx512()) tables.push_back(&avx512::table);
    if (has_avx2_fma()) tables.push_back(&avx2::table);
#endif
    tables.push_back(&portable::table);
    return tables;
}

const KernelTable* find_table(const std::string& name) {
    std::string available, lower = name;
    for (char& letter : lower) {
        if (letter >= 'A' && letter <= 'Z') letter += 'a' - 'A';
    }
    for (const KernelTable* table : supported_tables()) {
        if (lower == table->isa) return table;
        available += (available.empty() ? "" : ", ") + std::string(table->isa);
    }
    throw std::invalid_argument("instruction set '" + name +
                                "' is unknown or not supported by this build, processor or "
                                "operating system; available here: " +
                                available);
}

const KernelTable* table_from_environment() {
    const char* name = std::getenv("ALEXNET_ISA");
    if (name == nullptr || *name == '\0') return supported_tables().front();
    try {
        return find_table(name);
    } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(std::string("ALEXNET_ISA: ") + error.what());
    }
}

std::atomic<const KernelTable*> active{nullptr};

// One way to multiply bfloat16 operands: the best first.
struct Bf16Way {
    const char* name;
    Bf16Multiply Bf16Kernels::* kernel;
    bool is_supported;
};
constexpr size_t kBf16Ways = 3;

const Bf16Way* bf16_ways() {
    static const Bf16Way ways[kBf16Ways] = {
        {"amx", &Bf16Kernels::tile, has_bf16_tile()},
        {"avx512_bf16", &Bf16Kernels::dot, has_bf16_dot()},
        {"widening", &Bf16Kernels::widening, true},
    };
    return ways;
}

bool can_run(const Bf16Way& way) {
    return way.is_supported && kernels().bf16->*way.kernel != nullptr;
}

std::atomic<size_t> best_bf16_way{0};  // none before it is used

const Bf16Way& bf16_way() {
    const Bf16Way* way = bf16_ways() + best_bf16_way.load(std::memory_order_relaxed);
    while (!can_run(*way)) ++way;  // the last always can
    return *way;
}

}  // namespace

const KernelTable& kernels() {
    const KernelTable* table = active.load(std::memory_order_acquire);
    if (table == nullptr) {
        const KernelTable* chosen = table_from_environment();
        // Another thread may have been faster, or called set_isa: then its choice stands.
        if (active.compare_exchange_strong(table, chosen)) table = chosen;
    }
    return *table;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const KernelTable* table : supported_tables()) names.emplace_back(table->isa);
    return names;
}

void set_isa(const std::string& name) { active.store(find_table(name), std::memory_order_release); }

Bf16Multiply bf16_multiply() { return kernels().bf16->*bf16_way().kernel; }

std::string bf16_instructions() { return bf16_way().name; }

std::vector<std::string> available_bf16_instructions() {
    std::vector<std::string> names;
    for (size_t i = 0; i < kBf16Ways; ++i) {
        if (can_run(bf16_ways()[i])) names.emplace_back(bf16_ways()[i].name);
    }
    return names;
}

void set_bf16_instructions(const std::string& name) {
    for (size_t i = 0; i < kBf16Ways; ++i) {
        const Bf16Way& way = bf16_ways()[i];
        if (name == way.name && can_run(way)) return best_bf16_way.store(i);
    }
    throw std::invalid_argument("instructions for bfloat16 '" + name +
                                "' are unknown or not available here");
}

size_t l2_cache_bytes() {
    static const size_t bytes = [] {
        long found = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
        found = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        return found > 0 ? static_cast<size_t>(found) : size_t{1} << 20;
    }();
    return bytes;
}

}  // namespace alexnet::cpu
