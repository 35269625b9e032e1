// Threads: how many, and how work is dealt out to them. The users of OpenMP are team.cpp and
// thread_count.cpp.
//
// Every kernel gives each output element one owner and sums in an order that does not depend on the
// partition, so results are the same bits for every number of threads.

#ifndef ALEXNET_CPU_PARALLEL_H_
#define ALEXNET_CPU_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstddef>

#if defined(__SSE__)
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

#include "microkernels/kernels.h"
#include "task_times.h"

namespace alexnet::cpu {

// The arithmetic that a process starts with, for as long as the object lives: rounding to nearest,
// subnormals kept, no traps. A library built with -Ofast switches subnormals off for the thread
// that loads it and for those started from there later, and a caller may have set anything else:
// each thread that computes has one of these, so that results depend neither on that nor on which
// thread computed them.
class DefaultArithmetic {
  public:
    DefaultArithmetic(const DefaultArithmetic&) = delete;
#if defined(__SSE__)
    DefaultArithmetic() : saved_(_mm_getcsr()) {
        if (differs()) _mm_setcsr(kDefault);
    }
    ~DefaultArithmetic() {
        if (differs()) _mm_setcsr(saved_);
    }

  private:
    // Writing the register takes longer than reading it, and is seldom needed.
    bool differs() const { return (saved_ & ~kFlags) != kDefault; }

    static constexpr unsigned kDefault = 0x1f80, kFlags = 0x3f;  // flags: what has happened so far
    unsigned saved_;
#else
    DefaultArithmetic() {
        std::fegetenv(&saved_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultArithmetic() { std::fesetenv(&saved_); }

  private:
    std::fenv_t saved_;
#endif
};

// Without set_num_threads: ALEXNET_NUM_THREADS, else OMP_NUM_THREADS, else the processors that the
// process may run on (its affinity), or fewer by its CPU quota (cpu_quota.h); at most
// OMP_THREAD_LIMIT. Found at the first call, which throws std::invalid_argument where
// ALEXNET_NUM_THREADS is no positive integer. Without OpenMP always 1.
int num_threads();
const char* num_threads_from();     // which of them it was
void set_num_threads(int threads);  // threads >= 1
bool has_openmp();

// Calls body(context, thread, team) on the caller as thread 0, and once on each of the team's other
// threads that the system lets run before the caller is done. `team` is at most `threads`, and less
// where the system lets the process start no more. The body must not throw or call this again, does
// all of the work on however few threads come, and gets the default arithmetic on those that are
// not the caller's, too. Works in a process that was forked after an earlier call.
void run_team(int threads, void (*body)(void* context, int thread, int team), void* context);

template <typename Body>
void parallel(int threads, const Body& body) {
    run_team(
        threads,
        [](void* context, int thread, int team) {
            (*static_cast<const Body*>(context))(thread, team);
        },
        const_cast<Body*>(&body));
}

inline int useful_threads(size_t items, size_t grain) {
    const size_t wanted = (items + grain - 1) / std::max<size_t>(grain, 1);
    return static_cast<int>(std::clamp<size_t>(wanted, 1, static_cast<size_t>(num_threads())));
}

// body(task, thread) for every task, on at most `threads` threads, each with a contiguous range of
// them: the next kernel gives a thread the same images, which it then finds in its own caches. One
// that is done takes tasks of the others, so that a slow core does not hold up the rest. `thread`
// names the private scratch to use.
template <typename Body>
void parallel_tasks(int threads, size_t tasks, const Body& body) {
    struct alignas(kLineBytes) Queue {
        std::atomic<size_t> next;
        size_t end;
    };
    constexpr size_t kMostQueues = 64;  // more threads than that share them
    const size_t team_size = std::min(static_cast<size_t>(threads), std::max<size_t>(tasks, 1));
    const size_t count = std::min(team_size, kMostQueues);
    Queue queues[kMostQueues];
    for (size_t i = 0; i < count; ++i) {
        queues[i].next = tasks * i / count;
        queues[i].end = tasks * (i + 1) / count;
    }
    TaskTimes* const times = task_times();
    if (times) times->begin_region(team_size, tasks);
    parallel(times ? 1 : static_cast<int>(team_size), [&](int thread, int) {
        const size_t own = static_cast<size_t>(thread);
        for (size_t i = 0; i < count; ++i) {
            Queue& queue = queues[(own + i) % count];
            for (size_t task = queue.next++; task < queue.end; task = queue.next++) {
                body(task, own);
                if (times) times->end_task();
            }
        }
    });
}

// body(begin, end) on contiguous ranges, none of them much smaller than `grain`: some for each
// thread, dealt out as tasks are.
template <typename Body>
void parallel_for(size_t items, size_t grain, const Body& body) {
    if (items == 0) return;
    constexpr size_t kRangesAThread = 8;
    const int threads = useful_threads(items, grain);
    const size_t wanted = std::max<size_t>(items / std::max<size_t>(grain, 1), 1);
    const size_t team = static_cast<size_t>(threads);
    const size_t ranges = team == 1 ? 1 : std::clamp(wanted, team, kRangesAThread * team);
    parallel_tasks(threads, ranges, [&](size_t range, size_t) {
        const size_t begin = items * range / ranges, end = items * (range + 1) / ranges;
        if (begin < end) body(begin, end);
    });
}

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_PARALLEL_H_
