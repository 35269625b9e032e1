// What the emulation of Hopper does, with known answers, and kernels with one planted fault each.
//
//   copies      a box of a matrix, or windows of images, as they come to lie in shared memory
//   products    one wgmma of each type on an image of shared memory, by any matrix descriptors
//   pipeline    C = A · B as the kernels in cpp/cuda do it: a warp that copies tiles, a warpgroup that
//               multiplies, two stages. In tf32 (64 × depth) · (32 × depth)ᵀ with A in registers, of
//               bfloat16 (64 × depth) · (depth × 128), where B has its columns side by side
//   hand_over   registers of one warpgroup to two others, as these kernels do it

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "hopper_device.cuh"
#include "hopper_maps.h"
#include "launch.cuh"

namespace {

namespace py = pybind11;
using namespace alexnet::cuda;
using namespace emulation::maps;
using emulation::hopper::Operands;

// --- copies --------------------------------------------------------------------------------------

__global__ void copies(const CUtensorMap map, emulation::hopper::Coordinates where, uint32_t bytes,
                       unsigned char* y) {
    unsigned char* target = aligned_shared();
    auto* barrier = reinterpret_cast<uint64_t*>(target + bytes);
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        fence_proxy_async();
        mbarrier_arrive_expect(barrier, bytes);
        emulation::hopper::copy_tensor(target, map, barrier, where, 1);
    }
    __syncthreads();
    mbarrier_wait(barrier, 0);
    for (uint32_t i = threadIdx.x; i < bytes; i += blockDim.x) y[i] = target[i];
}

py::array_t<uint8_t> run_copy(const CUtensorMap& map, const std::vector<int>& at,
                              const std::vector<int>& offset, uint32_t bytes) {
    emulation::hopper::Coordinates where = {};
    std::copy(at.begin(), at.end(), where.at);
    std::copy(offset.begin(), offset.end(), where.offset);
    py::array_t<uint8_t> y(bytes);
    launch("copies", copies, 1, 32, 2 * kAlignment + bytes, nullptr, map, where, bytes,
           y.mutable_data());
    return y;
}

py::array_t<uint8_t> copy_matrix(const py::array_t<float>& x, uint32_t rows, uint32_t columns,
                                 int swizzle, int column, int row) {
    const CUtensorMap map = matrix_map(x, rows, columns, swizzle);
    return run_copy(map, {column, row}, {}, rows * columns * 4);
}

// Corners, steps and offsets: along w, then along h.
py::array_t<uint8_t> copy_windows(const py::array_t<float>& x, const std::vector<int>& lower,
                                  const std::vector<int>& upper,
                                  const std::vector<cuuint32_t>& steps, uint32_t channels,
                                  uint32_t pixels, const std::vector<int>& at,
                                  const std::vector<int>& offset) {
    cuuint64_t size[4], strides[3];
    for (int i = 0; i < 4; ++i) size[i] = cuuint64_t(x.shape(3 - i));
    for (int i = 0; i < 3; ++i) strides[i] = cuuint64_t(x.strides(2 - i));
    const cuuint32_t all_steps[] = {1, steps.at(0), steps.at(1), 1};
    CUtensorMap map;
    if (cuTensorMapEncodeIm2col(
            &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, const_cast<float*>(x.data()), size, strides,
            lower.data(), upper.data(), channels, pixels, all_steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
            CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
            CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
        throw std::invalid_argument("no such map");
    }
    return run_copy(map, at, offset, channels * pixels * 4);
}

// --- products ------------------------------------------------------------------------------------

struct OneProduct {
    Operands type;
    int n;
    emulation::hopper::InShared a, b;  // relative to where the image lies
    bool registers, fenced;
};

__global__ void products(OneProduct p, const unsigned char* image, size_t bytes,
                         const uint32_t* registers, float* y) {
    unsigned char* target = aligned_shared();
    const unsigned thread = threadIdx.x;
    for (size_t i = thread; i < bytes; i += blockDim.x) target[i] = image[i];
    if (p.fenced) fence_proxy_async();
    __syncthreads();
    const uint64_t start = shared_address(target) >> 4;
    uint32_t a[4];
    std::copy(registers + 4 * thread, registers + 4 * thread + 4, a);
    float d[128];
    for (int i = 0; i < p.n / 2; ++i) d[i] = 1;
    emulation::hopper::fence_products();
    p.a.descriptor += start;
    p.b.descriptor += start;
    emulation::hopper::multiply(p.type, p.n, d, p.registers ? a : nullptr, p.a, p.b,
                                {__FILE__, __LINE__});
    wgmma_commit();
    wgmma_wait<0>();
    const unsigned row = thread / 32 * 16 + thread % 32 / 4;
    for (int i = 0; i < p.n / 2; ++i) {
        const unsigned column = i / 4 * 8 + thread % 4 * 2 + i % 2;
        y[(row + i % 4 / 2 * 8) * p.n + column] = d[i];
    }
}

// Each matrix: a descriptor, and whether its neighbours lie along the depth.
py::array_t<float> multiply(int type, int n, const py::bytes& image,
                            const std::pair<uint64_t, bool>& a, const std::pair<uint64_t, bool>& b,
                            const py::array_t<uint32_t>& registers, bool fenced) {
    const std::string memory = image;
    py::array_t<float> y({64, n});
    const OneProduct p = {Operands(type), n,     {a.first, a.second}, {b.first, b.second},
                          a.first == 0,   fenced};
    launch("products", products, 1, 128, kAlignment + memory.size(), nullptr, p,
           reinterpret_cast<const unsigned char*>(memory.data()), memory.size(), registers.data(),
           y.mutable_data());
    return y;
}

// --- pipeline ------------------------------------------------------------------------------------

constexpr int kStages = 2, kRows = 64;

template <class T>
struct Sizes {
    static constexpr int kDepth = 128 / sizeof(T), kColumns = sizeof(T) == 4 ? 32 : 128;
    static constexpr uint32_t kBytesA = kRows * 128, kBytesB = kColumns * 128, kBox = 64 * 128;
    static constexpr uint32_t kStageBytes = kBytesA + kBytesB;
};

enum Fault {
    kNone,
    kWrongPhase,         // of the stage that the consumer waits for
    kNoWaitForStage,     // before it is multiplied
    kNoWaitForRoom,      // before it is filled again
    kEarlyRelease,       // before the product is done
    kTooFewBytes,        // expected
    kTooManyBytes,       // expected
    kNoRelease,          // of any stage
    kNoBarrierFence,     // after the mbarriers' initialisation
    kNoProductFence,     // before the products
    kNoWaitForProducts,  // before the accumulators are read
    kRegistersChanged,   // of A, before the wait
    kWrongStride,        // in the descriptor of B
    kWrongDescriptorSwizzle,
    kWarpMissing,  // in the last product
    kUnalignedTarget,
    // Of 16 bits alone.
    kWrongLeading,  // in the descriptor of B
    kWrongOrder,    // of B: taken for one with neighbours along the depth
    kWrongAdvance,  // in B, from 16 depths to the next
};

template <class T>
__global__ void pipeline(const CUtensorMap a, const CUtensorMap b, int steps, Fault fault,
                         float* y) {
    constexpr int kDepth = Sizes<T>::kDepth, kColumns = Sizes<T>::kColumns;
    constexpr uint32_t kBytesA = Sizes<T>::kBytesA, kBytesB = Sizes<T>::kBytesB;
    constexpr uint32_t kStageBytes = Sizes<T>::kStageBytes, kBox = Sizes<T>::kBox;
    constexpr bool kInRegisters = sizeof(T) == 4;
    unsigned char* stages = aligned_shared() + (fault == kUnalignedTarget ? 128 : 0);
    auto* full = reinterpret_cast<uint64_t*>(stages + kStages * kStageBytes);
    uint64_t* room = full + kStages;
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    if (thread == 0) {
        for (int i = 0; i < kStages; ++i) {
            mbarrier_init(full + i, 1);
            mbarrier_init(room + i, 4);
        }
        if (fault != kNoBarrierFence) fence_proxy_async();
    }
    __syncthreads();
    if (warp == 4) {
        if (lane != 0) return;
        for (int step = 0; step < steps; ++step) {
            const int slot = step % kStages, turn = step / kStages;
            unsigned char* stage = stages + slot * kStageBytes;
            if (fault != kNoWaitForRoom) mbarrier_wait(room + slot, turn % 2 == 0);
            const uint32_t bytes = kStageBytes - (fault == kTooFewBytes ? kBytesB : 0) +
                                   (fault == kTooManyBytes ? 16 : 0);
            mbarrier_arrive_expect(full + slot, bytes);
            tensor_copy(stage, a, full + slot, step * kDepth, 0);
            if (kInRegisters) {
                tensor_copy(stage + kBytesA, b, full + slot, step * kDepth, 0);
            } else {
                for (int box = 0; box < 2; ++box) {
                    tensor_copy(stage + kBytesA + box * kBox, b, full + slot, 64 * box,
                                step * kDepth);
                }
            }
        }
        return;
    }
    const int q = lane / 4, c = lane % 4;
    float d[kColumns / 2] = {};
    uint32_t registers[4][4];  // as long as products may read them
    for (int step = 0; step < steps; ++step) {
        const int slot = step % kStages;
        const unsigned parity = step / kStages % 2;
        const unsigned char* stage = stages + slot * kStageBytes;
        if (fault != kNoWaitForStage) mbarrier_wait(full + slot, parity ^ (fault == kWrongPhase));
        for (int k = 0; kInRegisters && k < 4; ++k) {
            for (int i = 0; i < 4; ++i) {
                const int row = warp * 16 + q + i % 2 * 8, chunk = 2 * k + i / 2;
                std::memcpy(&registers[k][i], stage + row * 128 + (chunk ^ q) * 16 + c * 4, 4);
            }
        }
        if (fault != kNoProductFence) wgmma_fence(registers);
        for (uint32_t k = 0; k < 4; ++k) {
            const uint32_t start = shared_address(stage), next = fault == kWrongAdvance ? 32 : 2048;
            uint64_t matrix = kInRegisters
                                  ? swizzled_matrix(start + kBytesA + 32 * k)
                                  : swizzled_columns(start + kBytesA + next * k,
                                                     fault == kWrongLeading ? kBox / 2 : kBox);
            if (fault == kWrongStride) matrix -= uint64_t{32} << 32;
            if (fault == kWrongDescriptorSwizzle) matrix += uint64_t{1} << 62;
            if (fault == kWarpMissing && warp == 2 && step == steps - 1 && k == 3) continue;
            if constexpr (kInRegisters) {
                wgmma_tf32<kColumns>(d, registers[k], matrix);
            } else if (fault == kWrongOrder) {
                wgmma_16<T, kColumns, true, true>(d, swizzled_matrix(start + 32 * k), matrix);
            } else {
                wgmma_16<T, kColumns, true, false>(d, swizzled_matrix(start + 32 * k), matrix);
            }
        }
        wgmma_commit();
        if (fault == kRegistersChanged) registers[0][0] ^= 1;
        if (fault == kEarlyRelease && lane == 0) mbarrier_arrive(room + slot, 0);
        if (fault == kEarlyRelease) __syncwarp();
        if (fault != kNoWaitForProducts) wgmma_wait<0>();
        if (fault != kEarlyRelease && fault != kNoRelease && lane == 0)
            mbarrier_arrive(room + slot, 0);
    }
    for (int i = 0; i < kColumns / 2; ++i) {
        const int row = warp * 16 + q + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * c + i % 2;
        y[row * kColumns + column] = d[i];
    }
    if (fault == kNoWaitForProducts) wgmma_wait<0>();
}

// b: of float (columns, depth), of 16 bits (depth, columns).
template <class T>
py::array_t<float> run_pipeline(const py::array& a, const py::array& b, int fault, int swizzle) {
    using S = Sizes<T>;
    py::array_t<float> y({kRows, S::kColumns});
    const int steps = static_cast<int>((a.shape(1) + S::kDepth - 1) / S::kDepth);
    const bool wide = sizeof(T) == 2;
    launch("pipeline", pipeline<T>, 1, 160, kAlignment + kStages * S::kStageBytes + 256, nullptr,
           matrix_map(a, kRows, S::kDepth, swizzle),
           matrix_map(b, wide ? S::kDepth : S::kColumns, wide ? 64 : S::kDepth, swizzle), steps,
           Fault(fault), y.mutable_data());
    return y;
}

// --- registers -----------------------------------------------------------------------------------

enum HandOver { kSound, kKept, kRaisedToFewer, kPartOfWarpgroup };

__global__ void hand_over(HandOver fault) {
    if (threadIdx.x >= 256) {
        if (fault != kKept) lower_registers<40>();
    } else if (fault == kRaisedToFewer) {
        raise_registers<160>();
    } else if (fault != kPartOfWarpgroup || threadIdx.x < 224) {
        raise_registers<232>();
    }
}

void run_hand_over(int fault) {
    launch("hand_over", hand_over, 1, 384, 0, nullptr, HandOver(fault));
}

}  // namespace

PYBIND11_MODULE(_cuda_hopper, m) {
    m.doc() = "What the emulation of Hopper does, and faults that it finds.";
    m.def("set_seed", &emulation::set_seed);
    m.def("copy_matrix", &copy_matrix);
    m.def("copy_windows", &copy_windows);
    m.def("multiply", &multiply);
    m.def("pipeline", &run_pipeline<float>);
    m.def("pipeline_of_bfloat16", &run_pipeline<alexnet::Bfloat16>);
    m.def("hand_over", &run_hand_over);
}
