// What a thread records, and for which stream.

#include "capture.h"

#include <stdexcept>
#include <utility>

namespace emulation::capture {
namespace {

struct Recording {
    bool is_on = false;
    const void* stream = nullptr;
    Graph graph;
};
thread_local Recording recording;

}  // namespace

Place place_of(const void* stream) {
    if (!recording.is_on) return Place::kRun;
    return recording.stream == stream ? Place::kRecord : Place::kForbidden;
}

void begin(const void* stream) {
    if (recording.is_on) throw std::runtime_error("this thread is capturing a stream already");
    recording = {true, stream, {}};
}

Graph end() {
    if (!recording.is_on) throw std::runtime_error("this thread is capturing no stream");
    return std::exchange(recording, {}).graph;
}

void record(Work work) { recording.graph.push_back(std::move(work)); }

}  // namespace emulation::capture
