// A team of threads: its caller, and members that OpenMP starts and that then wait for regions.
//
// A barrier of OpenMP waits for every thread of the team, also for one that the system has not let
// run since the region began. Here the caller opens a region, works, and closes it when no task is
// left; it then waits for those that had entered and nobody else. So a body may run on fewer
// threads than were asked for, and has to do all work on whichever do: it claims tasks.
//
// Everything between caller and members goes through one word, `region_`. A member enters by adding
// one to it while the region is open, the caller closes it and so learns how many have entered, and
// counts them as they leave. Body and context are written while no region is open and nobody inside.

#ifndef ALEXNET_CPU_TEAM_H_
#define ALEXNET_CPU_TEAM_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "load_watch.h"
#include "waiting.h"

namespace alexnet::cpu {

// A thread that was joined still counts until the system has released it: waits for that.
long own_thread_id();
void wait_until_gone(const std::vector<long>& ids);

class Team {
  public:
    using Body = void (*)(void* context, int thread, int team);

    // Of `size` threads with the caller, and `reserve` more, as far as OpenMP starts them. The
    // caller has made sure that the system allows as many (parallel.cpp).
    Team(int size, int reserve);
    Team(const Team&) = delete;
    ~Team();

    int size() const { return size_; }
    // Whether a reserve would help: see run().
    bool wants_reserve() const;

    // body(context, thread, team) on the caller, thread 0, and on members that come in time, each
    // with a number of its own below team = min(threads, size()).
    //
    // On an oversubscribed machine the reserve is called, too: of all members, whichever the system lets run
    // first take part, still no more than `threads` with the caller. Linux 6.18 besides gives more
    // of a processor to a process whose threads are woken often, up to several times an even share
    // (docs/notes/cpu-log.md). Several teams of a process have no reserve: they crowd each other.
    void run(int threads, Body body, void* context);

    // In a forked child, which has none of the threads.
    static void forget_all() { teams = 0; }

  private:
    void serve(int thread);
    bool enter(uint64_t& state, int thread, int& index);

    static std::atomic<int> teams;  // of the process

    alignas(kLineBytes) std::atomic<uint64_t> region_{0};  // the fields are in team.cpp
    std::atomic<Nanoseconds> spin_time_;
    Body body_ = nullptr;
    void* context_ = nullptr;
    std::atomic<bool> over_{false};
    alignas(kLineBytes) std::atomic<uint32_t> left_{0};  // of the members that had entered
    EventCount members_, reserves_, caller_;

    alignas(kLineBytes) LoadWatch watch_;
    Nanoseconds reserve_called_ = 0;
    std::atomic<bool> started_{false};
    int size_ = 1, reserve_ = 0;
    std::vector<long> ids_;  // of the threads that OpenMP has started, and the dispatcher
    std::thread dispatcher_;
};

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_TEAM_H_
