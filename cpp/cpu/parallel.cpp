#include "parallel.h"

#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace alexnet::cpu {
namespace {

constexpr long kMostThreads = 4096;  // LARGEST_THREADS of alexnet/checks.py

std::atomic<int> thread_count{0};  // 0: not decided yet

int affinity_count() {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// 0 where the variable is not set. OMP_NUM_THREADS may be a list, one number a nesting level.
int threads_from(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr || *text == '\0') return 0;
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(text, &end, 10);
    if (errno != 0 || end == text || (*end != '\0' && *end != ',') || value < 1 ||
        value > kMostThreads) {
        throw std::invalid_argument(std::string(variable) + " is '" + text +
                                    "', expected an integer from 1 to " +
                                    std::to_string(kMostThreads));
    }
    return static_cast<int>(value);
}

int default_threads() {
    for (const char* variable : {"ALEXNET_NUM_THREADS", "OMP_NUM_THREADS"}) {
        if (const int threads = threads_from(variable)) return threads;
    }
    return affinity_count();
}

#if defined(_OPENMP)

// GNU OpenMP keeps its pool of worker threads with the thread that started them, and a fork copies
// the pool's records but not the threads: the next parallel region of the child would wait for them
// forever. A new thread of the child has no pool and starts its own.
std::atomic<bool> forked{false};
const int fork_handler = pthread_atfork(nullptr, nullptr, [] { forked = true; });

void run_openmp(int threads, void (*body)(void*, int, int), void* context) {
#pragma omp parallel num_threads(threads)
    body(context, omp_get_thread_num(), omp_get_num_threads());
}

#endif  // _OPENMP

}  // namespace

bool has_openmp() {
#if defined(_OPENMP)
    return true;
#else
    return false;
#endif
}

int num_threads() {
    int threads = thread_count.load(std::memory_order_relaxed);
    if (threads == 0) {
        const int found = default_threads();
        // Another thread may have called set_num_threads: then its number stands.
        if (thread_count.compare_exchange_strong(threads, found)) threads = found;
    }
    return has_openmp() ? threads : 1;
}

void set_num_threads(int threads) { thread_count.store(threads, std::memory_order_relaxed); }

void run_team(int threads, void (*body)(void*, int, int), void* context) {
#if defined(_OPENMP)
    if (threads > 1) {
        if (forked.load(std::memory_order_relaxed)) {
            std::thread([=] { run_openmp(threads, body, context); }).join();
        } else {
            run_openmp(threads, body, context);
        }
        return;
    }
#endif
    (void)threads;
    body(context, 0, 1);
}

}  // namespace alexnet::cpu
