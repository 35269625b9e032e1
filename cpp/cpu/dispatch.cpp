#include "dispatch.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#if defined(ALEXNET_X86)
#include <cpuid.h>
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
