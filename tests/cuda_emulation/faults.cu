// Small kernels, each sound or with one planted fault, to show that the emulation finds such
// faults. All read x and write y, 64 floats each, with one block of 64 threads; y is expected to be
// x in reverse, but for `fragment`, which gives the product of the 8 x 8 matrix x with itself,
// below it with itself again.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <map>

#include "device.cuh"
#include "launch.cuh"

namespace {

namespace py = pybind11;
using alexnet::cuda::dynamic_shared;

constexpr int kThreads = 64;

template <bool faulty>
__global__ void barrier(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    shared[i] = x[i];
    if (!faulty) __syncthreads();
    y[i] = shared[kThreads - 1 - i];
}

// Reverses twice, and once more: what is read must not be overwritten before all have read it.
template <bool faulty>
__global__ void second_barrier(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    float value = x[i];
    for (int turn = 0; turn < 3; ++turn) {
        shared[i] = value;
        __syncthreads();
        value = shared[kThreads - 1 - i];
        if (!faulty) __syncthreads();
    }
    y[i] = value;
}

template <bool faulty>
__global__ void divergence(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    shared[i] = x[i];
    if (!faulty || i < 32) __syncthreads();
    y[i] = shared[kThreads - 1 - i];
}

template <bool faulty>
__global__ void early_end(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    shared[i] = x[i];
    if (faulty && i == 5) return;
    __syncthreads();
    y[i] = shared[kThreads - 1 - i];
}

template <bool faulty>
__global__ void write_past_shared(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    shared[i] = x[i];
    if (faulty && i == 0) shared[kThreads] = 1;
    __syncthreads();
    y[i] = shared[kThreads - 1 - i];
}

template <bool faulty>
__global__ void read_past_shared(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    shared[i] = x[i];
    __syncthreads();
    y[i] = shared[kThreads - i - (faulty ? 0 : 1)];
}

template <bool faulty>
__global__ void write_past_end(const float* x, float* y) {
    const int i = static_cast<int>(threadIdx.x);
    y[kThreads - i - (faulty ? 0 : 1)] = x[i];
}

template <bool faulty>
__global__ void wait(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    alexnet::cuda::cp_async4(shared + i, x + i, true);
    alexnet::cuda::cp_async_commit();
    alexnet::cuda::cp_async_wait<faulty ? 1 : 0>();
    __syncthreads();
    y[i] = shared[kThreads - 1 - i];
}

template <bool faulty>
__global__ void alignment(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x);
    if (i < kThreads / 4) alexnet::cuda::cp_async16(shared + 4 * i, x + 4 * i + faulty, true);
    alexnet::cuda::cp_async_commit();
    alexnet::cuda::cp_async_wait<0>();
    __syncthreads();
    y[i] = shared[kThreads - 1 - i];
}

template <bool faulty>
__global__ void shuffle(const float* x, float* y) {
    const int i = static_cast<int>(threadIdx.x);
    if (faulty && i % 32 == 7) return;
    y[i] = __shfl_xor_sync(0xffffffff, x[i ^ 32], 31);
}

template <bool faulty>
__global__ void indexed_shuffle(const float* x, float* y) {
    const int i = static_cast<int>(threadIdx.x);
    if (faulty && i % 32 >= 30) {
        y[i] = __shfl_sync(0xffffffff, x[i ^ 32], 31 - i % 32);
    } else {
        y[i] = __shfl_sync(0xffffffff, x[i ^ 32], 31 - i % 32);
    }
}

// A warp holds x twice as wide as it is: a lane's later element is the neighbour of the last lane's
// earlier one, as in windows of channels.
template <bool faulty>
__global__ void crossing_shuffle(const float* x, float* y) {
    const int lane = static_cast<int>(threadIdx.x);
    if (lane >= 32) return;
    const float own[2] = {x[lane], x[lane + 32]};
    for (int i = 0; i < 2; ++i) {
        const float value = !faulty && lane == 0 ? own[1 - i] : own[i];
        const int next = (lane + 32 * i + 1) % kThreads;
        y[kThreads - 1 - next] = __shfl_sync(0xffffffff, value, next % 32);
    }
}

// The lower half of the rows of a 16 x 8 operand is x again.
template <bool faulty>
__global__ void fragment(const float* x, float* y) {
    const int lane = static_cast<int>(threadIdx.x) % 32, q = lane / 4, c = lane % 4;
    const auto element = [&](int row, int column) {
        return alexnet::cuda::to_tf32(x[row % 8 * 8 + column]);
    };
    const uint32_t a[4] = {element(q, c), element(q + 8, c), element(q, c + 4),
                           element(q + 8, c + 4)};
    const uint32_t sound[2] = {element(c, q), element(c + 4, q)};
    const uint32_t transposed[2] = {element(q, c), element(q, c + 4)};
    float d[4] = {};
    alexnet::cuda::mma_tf32(d, a, faulty ? transposed : sound);
    if (threadIdx.x >= 32) return;
    y[q * 8 + 2 * c] = d[0];
    y[q * 8 + 2 * c + 1] = d[1];
}

// A warp's 16 rows of 16 bytes come back by ldmatrix from where a mask has put them: with another
// mask they are other rows. The upper lanes' addresses are those of the lower ones again.
template <bool faulty>
__global__ void swizzle(const float* x, float* y) {
    float* shared = dynamic_shared<float>();
    const int i = static_cast<int>(threadIdx.x), q = i % 16;
    shared[(i / 4 ^ 3) * 4 + i % 4] = x[i];
    __syncthreads();
    uint32_t r[4];
    alexnet::cuda::load_matrices(r, shared + (q ^ (faulty ? 1 : 3)) * 4);
    if (i >= 32) return;
    y[kThreads - 1 - i] = __uint_as_float(r[0]);
    y[kThreads / 2 - 1 - i] = __uint_as_float(r[1]);
}

using Kernel = void (*)(const float*, float*);
const std::map<std::string, std::pair<Kernel, Kernel>> kernels = {
    {"barrier", {barrier<false>, barrier<true>}},
    {"second_barrier", {second_barrier<false>, second_barrier<true>}},
    {"divergence", {divergence<false>, divergence<true>}},
    {"early_end", {early_end<false>, early_end<true>}},
    {"write_past_shared", {write_past_shared<false>, write_past_shared<true>}},
    {"read_past_shared", {read_past_shared<false>, read_past_shared<true>}},
    {"write_past_end", {write_past_end<false>, write_past_end<true>}},
    {"wait", {wait<false>, wait<true>}},
    {"alignment", {alignment<false>, alignment<true>}},
    {"shuffle", {shuffle<false>, shuffle<true>}},
    {"indexed_shuffle", {indexed_shuffle<false>, indexed_shuffle<true>}},
    {"crossing_shuffle", {crossing_shuffle<false>, crossing_shuffle<true>}},
    {"fragment", {fragment<false>, fragment<true>}},
    {"swizzle", {swizzle<false>, swizzle<true>}},
};

}  // namespace

PYBIND11_MODULE(_cuda_faults, m) {
    m.doc() = "Kernels with planted faults.";
#ifdef __SANITIZE_ADDRESS__
    m.attr("sanitized") = true;
#else
    m.attr("sanitized") = false;
#endif
    m.def("set_seed", &emulation::set_seed);
    m.def("run", [](const std::string& name, bool faulty, const py::array_t<float>& x,
                    py::array_t<float> y) {
        const auto& [sound, with_fault] = kernels.at(name);
        alexnet::cuda::launch(name.c_str(), faulty ? with_fault : sound, 1, kThreads,
                              kThreads * sizeof(float), nullptr, x.data(), y.mutable_data());
    });
}
