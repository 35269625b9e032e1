#include "task_times.h"

#include <ctime>
#include <memory>
#include <utility>

namespace alexnet::cpu {
namespace {

thread_local std::unique_ptr<TaskTimes> own_times;

double thread_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

void TaskTimes::begin_region(size_t team, size_t tasks) {
    TimedRegion& region = regions.emplace_back();
    region.team = team;
    region.times.reserve(tasks + 1);
    region.times.push_back(thread_seconds());
}

void TaskTimes::end_task() { regions.back().times.push_back(thread_seconds()); }

TaskTimes* task_times() { return own_times.get(); }

void start_task_times() { own_times = std::make_unique<TaskTimes>(); }

std::vector<TimedRegion> stop_task_times() {
    const std::unique_ptr<TaskTimes> times = std::move(own_times);
    return times ? std::move(times->regions) : std::vector<TimedRegion>{};
}

}  // namespace alexnet::cpu
