// How many threads kernels use: what the caller said, else the environment, else the machine.

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "cpu_quota.h"
#include "parallel.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace alexnet::cpu {
namespace {

constexpr long kMostThreads = 4096;  // LARGEST_THREADS of alexnet/contract/arguments.py

enum class From {
    kCaller,
    kOwnVariable,
    kOpenMPVariable,
    kOpenMPLimit,
    kQuota,
    kAffinity,
    kMachine,
    kNoOpenMP
};

// What num_threads_from() says of each.
constexpr const char* kNames[] = {
    "set_num_threads", "ALEXNET_NUM_THREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT",
    "CPU quota",       "CPU affinity",        "all processors",  "no OpenMP",
};

struct Choice {
    int threads;  // 0: not decided yet
    From from;
};
std::atomic<Choice> choice{Choice{0, From::kMachine}};
static_assert(std::atomic<Choice>::is_always_lock_free);

const char* skip_blanks(const char* text) {
    while (std::isspace(static_cast<unsigned char>(*text))) ++text;
    return text;
}

// A number of at least 1, with blanks around it, and where it ends; 0 where there is none, or one
// too large for a long.
long positive_number(const char* text, const char*& end) {
    char* digits_end = nullptr;
    errno = 0;
    const long value = std::strtol(text, &digits_end, 10);
    end = skip_blanks(digits_end);
    return errno == 0 && digits_end != text && value >= 1 ? value : 0;
}

// Of ALEXNET_NUM_THREADS; 0 where it isn't set, or blank.
int own_variable() {
    const char* text = std::getenv("ALEXNET_NUM_THREADS");
    if (text == nullptr || *skip_blanks(text) == '\0') return 0;
    const char* end = nullptr;
    const long value = positive_number(text, end);
    if (value == 0 || value > kMostThreads || *end != '\0') {
        throw std::invalid_argument(std::string("ALEXNET_NUM_THREADS is '") + text +
                                    "', expected an integer from 1 to " +
                                    std::to_string(kMostThreads));
    }
    return static_cast<int>(value);
}

// Of OMP_NUM_THREADS, read as OpenMP reads it: a list, one number a nesting level, of which the
// first counts. A value that is none is ignored, after the warning that GNU OpenMP has printed when
// it was loaded; 0 then, and where it isn't set.
int openmp_variable() {
    const char* text = std::getenv("OMP_NUM_THREADS");
    if (text == nullptr) return 0;
    long first = 0;
    for (const char* next = text;; ++next) {
        const bool is_first = next == text;
        const long value = positive_number(next, next);
        if (value == 0 || (*next != '\0' && *next != ',')) return 0;
        if (is_first) first = std::min(value, kMostThreads);
        if (*next == '\0') return static_cast<int>(first);
    }
}

Choice of_the_machine() {
    Choice found{std::max(1, static_cast<int>(std::thread::hardware_concurrency())),
                 From::kMachine};
#if defined(__linux__)
    // hardware_concurrency() is the affinity there, too, so the processors are counted otherwise.
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int processors = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
        found.threads = std::max(1, CPU_COUNT(&set));
        if (found.threads < processors) found.from = From::kAffinity;
    }
#endif
    const int quota = cpu_quota();
    return quota > 0 && quota < found.threads ? Choice{quota, From::kQuota} : found;
}

// OMP_THREAD_LIMIT: OpenMP starts no more.
int openmp_limit() {
#if defined(_OPENMP)
    return std::max(1, omp_get_thread_limit());
#else
    return 1;
#endif
}

Choice default_choice() {
    Choice found{own_variable(), From::kOwnVariable};
    if (!has_openmp()) return {1, From::kNoOpenMP};
    if (found.threads == 0) found = {openmp_variable(), From::kOpenMPVariable};
    if (found.threads == 0) found = of_the_machine();
    const int limit = openmp_limit();
    return limit < found.threads ? Choice{limit, From::kOpenMPLimit} : found;
}

Choice decided() {
    Choice now = choice.load(std::memory_order_relaxed);
    if (now.threads == 0) {
        const Choice found = default_choice();
        // Another thread may have called set_num_threads: then its number stands.
        if (choice.compare_exchange_strong(now, found)) now = found;
    }
    return now;
}

}  // namespace

bool has_openmp() {
#if defined(_OPENMP)
    return true;
#else
    return false;
#endif
}

int num_threads() { return decided().threads; }

const char* num_threads_from() { return kNames[static_cast<int>(decided().from)]; }

void set_num_threads(int threads) {
    const Choice made = has_openmp() ? Choice{threads, From::kCaller} : Choice{1, From::kNoOpenMP};
    choice.store(made, std::memory_order_relaxed);
}

}  // namespace alexnet::cpu
