// Kernels whose counts are known: one warp that reads or writes memory in a pattern.

#include <string>

#include "device.cuh"
#include "gemm_layout.cuh"
#include "launch.cuh"

namespace {

using alexnet::cuda::dynamic_shared;

constexpr int kLanes = 32;

template <int width>
struct alignas(width * sizeof(float)) Values {
    float at[width];
};

// Each lane reads `width` floats, `stride` floats from those of the lane before.
template <int width>
__global__ void read_global(int stride, const float* x, float*) {
    const auto v = *reinterpret_cast<const Values<width>*>(x + stride * int(threadIdx.x));
    (void)v;
}

template <int width>
__global__ void write_global(int stride, const float*, float* y) {
    *reinterpret_cast<Values<width>*>(y + stride * int(threadIdx.x)) = {};
}

template <int width>
__global__ void read_shared(int stride, const float*, float*) {
    const float* shared = dynamic_shared<float>();
    const auto v = *reinterpret_cast<const Values<width>*>(shared + stride * int(threadIdx.x));
    (void)v;
}

// ldmatrix: row i of its 32 begins `stride` floats after the one before.
__global__ void read_matrices(int stride, const float*, float*) {
    uint32_t r[4];
    alexnet::cuda::load_matrices(r, dynamic_shared<float>() + stride * int(threadIdx.x));
}

// The same of rows of 64 bytes, four of them apart, with the masks of gemm_layout.cuh.
__global__ void read_swizzled(int, const float*, float*) {
    using Layout = alexnet::cuda::TileLayout<true, float, true, 128>;
    uint32_t r[4];
    const int row = int(threadIdx.x) % 8 * 4 + int(threadIdx.x) / 8 % 2;
    const auto* tile = dynamic_shared<unsigned char>();
    alexnet::cuda::load_matrices(r, tile + Layout::offset(row, int(threadIdx.x) / 16));
}

// Three groups of copies on their way before the first wait; two barriers; one product.
__global__ void pipeline(int, const float* x, float*) {
    float* shared = dynamic_shared<float>();
    for (int group = 0; group < 3; ++group) {
        const int place = group * 4 * kLanes + 4 * int(threadIdx.x);
        alexnet::cuda::cp_async16(shared + place, x + place, true);
        alexnet::cuda::cp_async_commit();
    }
    alexnet::cuda::cp_async_wait<1>();
    __syncthreads();
    alexnet::cuda::cp_async_wait<0>();
    __syncthreads();
    float d[4] = {};
    const uint32_t a[4] = {}, b[2] = {};
    alexnet::cuda::mma_tf32(d, a, b);
}

// The odd lanes do nothing, in a loop whose turns belong together all the same.
__global__ void half_of_the_lanes(int stride, const float* x, float*) {
    if (threadIdx.x % 2 == 1) return;
    for (int turn = 0; turn < 3; ++turn) {
        const float v = x[turn * kLanes + stride * int(threadIdx.x)];
        (void)v;
    }
}

__device__ void sum_from(const float* shared, int turns) {
    for (int turn = 0; turn < turns; ++turn) {
        const float v = shared[turn];
        (void)v;
    }
}

// Lane 0 reads less than the others in a function that is called three times: in each of them all
// lanes begin together again.
__global__ void uneven(int stride, const float*, float*) {
    const float* shared = dynamic_shared<float>();
    for (int call = 0; call < 3; ++call) {
        sum_from(shared + call + stride * int(threadIdx.x), threadIdx.x == 0 ? 1 : 2);
    }
}

using Kernel = void (*)(int, const float*, float*);

}  // namespace

void run_pattern(const std::string& name, int stride, unsigned blocks, const float* x, float* y) {
    constexpr size_t kShared = 16 * 1024;
    const Kernel kernel = name == "read_global 4"     ? read_global<1>
                          : name == "read_global 8"   ? read_global<2>
                          : name == "read_global 16"  ? read_global<4>
                          : name == "write_global 4"  ? write_global<1>
                          : name == "write_global 16" ? write_global<4>
                          : name == "read_shared 4"   ? read_shared<1>
                          : name == "read_shared 8"   ? read_shared<2>
                          : name == "read_shared 16"  ? read_shared<4>
                          : name == "read_matrices"   ? read_matrices
                          : name == "read_swizzled"   ? read_swizzled
                          : name == "pipeline"        ? pipeline
                          : name == "uneven"          ? uneven
                                                      : half_of_the_lanes;
    alexnet::cuda::launch(name.c_str(), kernel, dim3(blocks), dim3(kLanes), kShared, nullptr,
                          stride, x, y);
}
