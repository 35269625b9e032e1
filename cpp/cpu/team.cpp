// How a team's threads are started, wait and come into a region; team.h says what a team is.
//
// Members live inside one long parallel region of OpenMP, so that they are its threads, with its
// stack sizes, places and limits, as those of any other code of the process. Whoever opens a parallel
// region is its first thread and stays until its end, and a caller has to return to its own code: so
// a thread of the team's own, the dispatcher, opens it. It is a member itself, but where OpenMP binds
// threads: then it has the caller's place, and waits.

#include "team.h"

#if defined(_OPENMP)

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <exception>

#include "parallel.h"

namespace alexnet::cpu {
namespace {

// Fields of the word `region_`, from below.
constexpr uint64_t kOpen = 1;        // members may enter
constexpr uint64_t kAnyIndex = 2;    // of all, whichever comes first, not each with its own number
constexpr uint64_t kOneEntered = 4;  // 13 bits: how many have entered
constexpr int kEnteredShift = 2, kThreadsShift = 15;
constexpr int kRegionShift = 32;  // the upper half: the number of the region
constexpr uint64_t kCountMask = 0x1fff;

int entered(uint64_t state) { return static_cast<int>(state >> kEnteredShift & kCountMask); }
int threads_of(uint64_t state) { return static_cast<int>(state >> kThreadsShift & kCountMask); }
uint32_t region_of(uint64_t state) { return static_cast<uint32_t>(state >> kRegionShift); }

// How long a thread looks on a quiet machine before it sleeps: longer than Python takes between
// most kernels. On a busy one it sleeps at once.
constexpr Nanoseconds kSpinTime = 270'000;
// Waking the reserve takes some microseconds a thread, so it is not woken for every short region.
constexpr Nanoseconds kReserveInterval = 200'000;

}  // namespace

long own_thread_id() {
#if defined(__linux__)
    return syscall(SYS_gettid);
#else
    return 0;
#endif
}

void wait_until_gone(const std::vector<long>& ids) {
#if defined(__linux__)
    constexpr int kMostWaits = 1000;  // a debugger may keep it
    for (const long id : ids) {
        for (int wait = 0; wait < kMostWaits; ++wait) {
            if (syscall(SYS_tgkill, getpid(), id, 0) != 0) break;
            sched_yield();
        }
    }
#else
    (void)ids;
#endif
}

std::atomic<int> Team::teams{0};

Team::Team(int size, int reserve) : spin_time_(kSpinTime) {
    const int wanted = std::min(size + reserve, omp_get_thread_limit()) - 1;
    ids_.resize(static_cast<size_t>(wanted) + 1);
    ++teams;
    if (wanted < 1) return;
    const auto dispatch = [this, size, wanted] {
        // Where OpenMP binds threads to places, the first thread of a region gets the first place,
        // which is the caller's: it is not one of the members then.
        const int idle = omp_get_proc_bind() == omp_proc_bind_false ? 0 : 1;
#pragma omp parallel num_threads(wanted + idle)
        {
            const int thread = omp_get_thread_num() + 1 - idle;
            ids_[static_cast<size_t>(omp_get_thread_num())] = own_thread_id();
            if (omp_get_thread_num() == 0) {
                const int members = omp_get_num_threads() - idle;
                size_ = std::min(size, members + 1);
                reserve_ = members + 1 - size_;
                started_ = true;
                caller_.notify_all();
            }
            if (thread > 0) {
                const DefaultArithmetic arithmetic;
                serve(thread);
            }
        }
    };
    try {
        dispatcher_ = std::thread(dispatch);
    } catch (const std::exception&) {  // no thread can be started any more, or no memory
        return;
    }
    caller_.wait([this] { return started_.load(); });
}

Team::~Team() {
    --teams;
    if (!dispatcher_.joinable()) return;
    over_ = true;
    members_.notify_all();
    reserves_.notify_all();
    dispatcher_.join();
    wait_until_gone(ids_);
}

bool Team::wants_reserve() const { return teams == 1 && watch_.oversubscribed(wall_time()); }

// Whether the member got into the region of `state`, and with which number.
bool Team::enter(uint64_t& state, int thread, int& index) {
    const uint32_t region = region_of(state);
    while ((state & kOpen) != 0 && region_of(state) == region) {
        index = (state & kAnyIndex) != 0 ? entered(state) + 1 : thread;
        if (index >= threads_of(state)) return false;
        if (region_.compare_exchange_weak(state, state + kOneEntered)) return true;
    }
    return false;
}

void Team::serve(int thread) {
    caller_.wait([this] { return started_.load(); });  // then size_ is there
    EventCount& event = thread < size_ ? members_ : reserves_;
    const bool spins = thread < size_;
    uint64_t state = 0;
    uint32_t last = 0;
    const auto called = [&] {
        state = region_.load();
        return ((state & kOpen) != 0 && region_of(state) != last) || over_.load();
    };
    for (;;) {
        if (!spin_until(spins ? spin_time_.load(std::memory_order_relaxed) : 0, called)) {
            event.wait(called);
        }
        if (over_.load()) return;
        last = region_of(state);
        int index = 0;
        if (!enter(state, thread, index)) continue;
        body_(context_, index, threads_of(state));
        ++left_;
        caller_.notify_all();
    }
}

void Team::run(int threads, Body body, void* context) {
    threads = std::min(threads, size_);
    watch_.begin();
    const Nanoseconds now = watch_.began();
    const bool any_index = reserve_ > 0 && teams == 1 && watch_.oversubscribed(now);
    body_ = body;
    context_ = context;
    left_ = 0;
    const uint64_t region = region_of(region_.load(std::memory_order_relaxed)) + uint64_t{1};
    region_ = region << kRegionShift | static_cast<uint64_t>(threads) << kThreadsShift |
              (any_index ? kAnyIndex : 0) | kOpen;
    members_.notify_all();
    if (any_index && now - reserve_called_ >= kReserveInterval) {
        reserve_called_ = now;
        reserves_.notify_all();
    }
    body(context, 0, threads);
    const uint32_t inside = static_cast<uint32_t>(entered(region_.fetch_and(~kOpen)));
    watch_.end();
    const Nanoseconds spin_time = watch_.busy() || any_index ? 0 : kSpinTime;
    if (spin_time_.load(std::memory_order_relaxed) !=
        spin_time) {  // else the line stays where it is
        spin_time_.store(spin_time, std::memory_order_relaxed);
    }
    const auto done = [&] { return left_.load() == inside; };
    if (!spin_until(spin_time, done)) caller_.wait(done);
}

}  // namespace alexnet::cpu

#endif  // _OPENMP
