// The time of every task of every parallel region, as benchmarks/scaling_model.py asks for it to
// compute how long the regions would take on more threads.
//
// While a thread records, it does all tasks of its own regions itself, in their order, but dealt
// out as for num_threads() threads. Other threads go on as ever. Tasks are timed by the processor
// time of the thread, which leaves out what other processes take of the machine.

#ifndef ALEXNET_CPU_TASK_TIMES_H_
#define ALEXNET_CPU_TASK_TIMES_H_

#include <cstddef>
#include <vector>

namespace alexnet::cpu {

struct TimedRegion {
    size_t call;                // of a kernel by Python, to which it belongs, counted from 1
    size_t team;                // threads that the tasks are dealt out to
    std::vector<double> times;  // when it began and when each task ended, in seconds
};

class TaskTimes {
  public:
    void begin_call() { ++calls_; }
    void begin_region(size_t team, size_t tasks);
    // Allocates nothing: it is called inside of regions.
    void end_task();
    void clear();
    std::vector<TimedRegion> regions() const;

  private:
    struct Start {
        size_t call, team, first;  // of times_
    };
    size_t calls_ = 0;
    std::vector<Start> starts_;
    std::vector<double> times_;  // of all regions; the memory stays for the next recording
};

// What the calling thread records into; null while it does not.
TaskTimes* task_times();

void start_task_times();
// The regions since the start, in order; none where it was not started.
std::vector<TimedRegion> stop_task_times();

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_TASK_TIMES_H_
