#include "reduce.cuh"

namespace alexnet::cuda {
namespace {

__global__ void scaled_sum(size_t n, const double* terms, double scale, float* result) {
    double sum = 0;
    for (size_t i = threadIdx.x; i < n; i += kBlockThreads) sum += terms[i];
    sum = block_sum(sum, dynamic_shared<double>());
    if (threadIdx.x == 0) *result = static_cast<float>(scale * sum);
}

}  // namespace

void launch_scaled_sum(const char* name, size_t n, const double* terms, double scale, float* result,
                       Stream stream) {
    launch(name, scaled_sum, 1, kBlockThreads, kBlockWarps * sizeof(double), stream, n, terms,
           scale, result);
}

}  // namespace alexnet::cuda
