// What the rungs take from outside of their own files. A rung that its user compiles gets a copy.

#include <cstdlib>
#include <new>

#include "shapes.h"

namespace alexnet::study {
namespace {

constexpr size_t kLine = 64;  // bytes of a cache line
int thread_count = 1;

}  // namespace

int threads() { return thread_count; }

float* scratch(size_t floats) {
    static float* memory = nullptr;
    static size_t size = 0;
    if (floats > size) {
        std::free(memory);
        size = 0;
        const size_t bytes = (floats * sizeof(float) + kLine - 1) / kLine * kLine;
        memory = static_cast<float*>(std::aligned_alloc(kLine, bytes));
        if (memory == nullptr) throw std::bad_alloc();
        size = floats;
    }
    return memory;
}

}  // namespace alexnet::study

// Without OpenMP there is one thread, whatever is asked for.
extern "C" __attribute__((visibility("default"))) void alexnet_study_set_threads(
    [[maybe_unused]] int threads) {
#ifdef _OPENMP
    alexnet::study::thread_count = threads;
#endif
}
