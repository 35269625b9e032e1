#include "task_times.h"

#include <algorithm>
#include <ctime>

namespace alexnet::cpu {
namespace {

thread_local TaskTimes own_times;
thread_local bool is_recording = false;

double thread_seconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

void TaskTimes::begin_region(size_t team, size_t tasks) {
    const size_t needed = times_.size() + tasks + 1;
    if (needed > times_.capacity()) times_.reserve(std::max(needed, 2 * times_.capacity()));
    starts_.push_back({calls_, team, times_.size()});
    times_.push_back(thread_seconds());
}

void TaskTimes::end_task() { times_.push_back(thread_seconds()); }

void TaskTimes::clear() {
    calls_ = 0;
    starts_.clear();
    times_.clear();
}

std::vector<TimedRegion> TaskTimes::regions() const {
    std::vector<TimedRegion> regions;
    for (size_t i = 0; i < starts_.size(); ++i) {
        const size_t end = i + 1 < starts_.size() ? starts_[i + 1].first : times_.size();
        const auto [call, team, first] = starts_[i];
        regions.push_back({call, team, {times_.data() + first, times_.data() + end}});
    }
    return regions;
}

TaskTimes* task_times() { return is_recording ? &own_times : nullptr; }

void start_task_times() {
    own_times.clear();
    is_recording = true;
}

std::vector<TimedRegion> stop_task_times() {
    if (!is_recording) return {};
    is_recording = false;
    return own_times.regions();
}

}  // namespace alexnet::cpu
