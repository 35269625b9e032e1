#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace alexnet::cpu {
namespace {

#if defined(_OPENMP)

// The team that this thread has: how many threads it was to have, and has, itself included. It stays
// as large as num_threads() says also where a kernel needs fewer of them: GNU OpenMP ends the
// threads that the next team does not need, and has to start them again for the one after it.
struct Team {
    int wanted = 1, size = 1;
};
thread_local Team own_team;

// Held while threads are tried and started: two that try at once would count the same ones.
std::mutex starting;

// GNU OpenMP keeps its pool of worker threads with the thread that started them, and a fork copies
// the pool's records but not the threads: the next parallel region of the child would wait for them
// forever. A new thread of the child has no pool and starts its own. The handler runs on the one
// thread that the child has.
std::atomic<bool> forked{false};
const int fork_handler = pthread_atfork([] { starting.lock(); }, [] { starting.unlock(); },
                                        [] {
                                            starting.unlock();
                                            forked = true;
                                            own_team = Team();
                                        });

// How many threads the system lets this process start at once, at most `wanted`. The runtimes of
// OpenMP end the process where they can't start one (limits of processes, of a container's tasks,
// of address space), so as many are started here first. A thread that was joined still counts until
// the kernel has released it.
int startable(int wanted) {
    std::mutex gate;
    std::vector<std::thread> trials;
    std::vector<long> ids;
    try {
        const std::lock_guard<std::mutex> closed(gate);
        ids.resize(static_cast<size_t>(wanted));
        trials.reserve(ids.size());
        for (long& id : ids) {
            trials.emplace_back([&gate, &id] {
#if defined(__linux__)
                id = syscall(SYS_gettid);
#endif
                const std::lock_guard<std::mutex> pass(gate);
            });
        }
    } catch (const std::exception&) {  // no memory, or no thread
    }
    for (std::thread& trial : trials) trial.join();
#if defined(__linux__)
    constexpr int kMostWaits = 1000;  // a debugger may keep it
    for (size_t i = 0; i < trials.size(); ++i) {
        for (int wait = 0; wait < kMostWaits; ++wait) {
            if (syscall(SYS_tgkill, getpid(), ids[i], 0) != 0) break;
            sched_yield();
        }
    }
#endif
    return static_cast<int>(trials.size());
}

// The body on the first `threads` of a team of `size`.
void run_openmp(int size, int threads, void (*body)(void*, int, int), void* context) {
#pragma omp parallel num_threads(size)
    {
        const int team = std::min(threads, omp_get_num_threads()), thread = omp_get_thread_num();
        if (thread < team) {
            const DefaultArithmetic arithmetic;
            body(context, thread, team);
        }
    }
}

void make_team(int wanted) {
    const std::lock_guard<std::mutex> alone(starting);
    // In a forked process none of its threads stays, and the first is not the caller.
    const bool apart = forked.load(std::memory_order_relaxed);
    const int there = apart ? 0 : own_team.size;
    own_team.wanted = wanted;
    own_team.size = wanted > there ? there + startable(wanted - there) : wanted;
    if (!apart) run_openmp(own_team.size, 0, nullptr, nullptr);  // starts them
}

// Whether a team has run the body; otherwise the caller is the only thread that there can be.
bool run_openmp_team(int threads, void (*body)(void*, int, int), void* context) {
    if (threads <= 1) return false;
    if (const int wanted = num_threads(); wanted != own_team.wanted) make_team(wanted);
    const int size = own_team.size;
    if (size <= 1) return false;
    if (!forked.load(std::memory_order_relaxed)) {
        run_openmp(size, threads, body, context);
        return true;
    }
    try {
        std::thread([=] { run_openmp(std::min(size, threads), threads, body, context); }).join();
    } catch (const std::system_error&) {  // no thread can be started any more
        return false;
    }
    return true;
}

#endif  // _OPENMP

}  // namespace

void run_team(int threads, void (*body)(void*, int, int), void* context) {
#if defined(_OPENMP)
    if (run_openmp_team(threads, body, context)) return;
#endif
    (void)threads;
    body(context, 0, 1);
}

}  // namespace alexnet::cpu
