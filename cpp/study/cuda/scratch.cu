// What the rungs take from outside of their own files.

#include "study.cuh"

namespace alexnet::study {

float* scratch(size_t floats) {
    static float* memory = nullptr;
    static size_t size = 0;
    if (floats > size) {
        check(cudaFree(memory), "scratch");  // waits for the kernels that use it
        memory = nullptr;
        size = 0;
        check(cudaMalloc(reinterpret_cast<void**>(&memory), floats * sizeof(float)), "scratch");
        size = floats;
    }
    return memory;
}

}  // namespace alexnet::study
