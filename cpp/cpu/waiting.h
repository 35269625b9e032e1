// How threads of a team wait: they look for a while, and then sleep until somebody wakes them.

#ifndef ALEXNET_CPU_WAITING_H_
#define ALEXNET_CPU_WAITING_H_

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "microkernels/kernels.h"

namespace alexnet::cpu {

using Nanoseconds = int64_t;

inline Nanoseconds read_clock(clockid_t clock) {
    timespec time;
    clock_gettime(clock, &time);
    return Nanoseconds{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}
inline Nanoseconds wall_time() { return read_clock(CLOCK_MONOTONIC); }
// What the thread has had of a processor; a system call, of some 100 ns.
inline Nanoseconds processor_time() { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

// Tells the processor that a loop only waits.
inline void spin_pause() {
#if defined(__SSE__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Looks whether `ready()` for so long at most; whether it was.
template <typename Ready>
bool spin_until(Nanoseconds spin_time, const Ready& ready) {
    if (ready()) return true;
    if (spin_time <= 0) return false;
    constexpr int kLooks = 16;  // between two readings of the clock
    const Nanoseconds end = wall_time() + spin_time;
    do {
        for (int i = 0; i < kLooks; ++i) {
            spin_pause();
            if (ready()) return true;
        }
    } while (wall_time() < end);
    return false;
}

// An eventcount, by which threads sleep: whoever makes ready() true, by a sequentially consistent
// store, notifies then; ready() loads likewise. So either the sleeper sees the store, or the other one
// the sleeper.
class alignas(kLineBytes) EventCount {
  public:
    template <typename Ready>
    void wait(const Ready& ready) {
        for (;;) {
            const uint32_t epoch = epoch_.load();
            ++waiters_;
            const bool done = ready();
            if (!done) wait_while(epoch);
            --waiters_;
            if (done || ready()) return;
        }
    }

    void notify_all() {
        if (waiters_.load() == 0) return;
        ++epoch_;
        wake_all();
    }

  private:
#if defined(__linux__)
    void wait_while(uint32_t epoch) {
        syscall(SYS_futex, &epoch_, FUTEX_WAIT_PRIVATE, epoch, nullptr, nullptr, 0);
    }
    void wake_all() {
        syscall(SYS_futex, &epoch_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }
#else
    void wait_while(uint32_t epoch) { epoch_.wait(epoch); }
    void wake_all() { epoch_.notify_all(); }
#endif

    std::atomic<uint32_t> epoch_{0};
    std::atomic<int> waiters_{0};
};
static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_WAITING_H_
