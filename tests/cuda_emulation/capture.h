// Streams whose work is recorded instead of run, to be run later and again: CUDA's graphs.
//
// Between `begin` and `end` of a thread, each launch on the stream is noted with copies of its
// arguments. What the stand-in for CuPy computes by itself is noted in the same list, so that the
// order stays. A launch on another stream meanwhile is an error, as it is where that one is CUDA's
// default. What an argument points to is not kept: the graph reads and writes what is there when it
// runs.

#ifndef ALEXNET_CUDA_EMULATION_CAPTURE_H_
#define ALEXNET_CUDA_EMULATION_CAPTURE_H_

#include <functional>
#include <vector>

namespace emulation::capture {

using Work = std::function<void()>;  // throws where it fails
using Graph = std::vector<Work>;

enum class Place { kRun, kRecord, kForbidden };

// Where work on a stream belongs that this thread hands over now.
Place place_of(const void* stream);

void begin(const void* stream);
Graph end();
void record(Work work);

}  // namespace emulation::capture

#endif  // ALEXNET_CUDA_EMULATION_CAPTURE_H_
