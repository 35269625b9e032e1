// A pipeline of clusters in the emulation, as hopper_gemm.cuh has it, with one planted fault each.
//
//   C (64 · blocks, 32) = A (64 · blocks, depth) · B (32, depth)ᵀ   in tf32
//
// Two blocks of a cluster have 64 rows each and share B, of which each copies 16 rows to both. In a
// block a warp copies and a warpgroup multiplies, with two stages.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "hopper_device.cuh"
#include "hopper_maps.h"
#include "launch.cuh"

namespace {

namespace py = pybind11;
using namespace alexnet::cuda;
using namespace emulation::maps;

constexpr int kStages = 2, kRows = 64, kColumns = 32, kDepth = 32;
constexpr uint32_t kBytesA = kRows * 128, kBytesB = kColumns * 128;
constexpr uint32_t kStageBytes = kBytesA + kBytesB;

enum Fault {
    kNone,
    kMaskOfSelf,
    kMaskOfOther,
    kMaskTooWide,
    kHalfOfBytes,      // of B, expected: those that the block's own copy brings
    kSameHalf,         // of B, copied by both
    kArrivalMissing,   // at the other block's barrier, which waits for it
    kNoArrivals,       // from the other block, and none is waited for
    kArrivalsAtSelf,   // instead of at the other block's barrier
    kRankTooHigh,      // of the block whose barrier is arrived at
    kUnequalSteps,     // of the two blocks
    kNoBarrierBefore,  // of the cluster, after the mbarriers' initialisation
    kNoClusterFence,   // after the mbarriers' initialisation
    kNoBarrierAfter,   // of the cluster, before a block ends
    kBarrierOfOne,     // at the end
};

__global__ void pipeline(const CUtensorMap a, const CUtensorMap b, int all_steps, Fault fault,
                         float* y) {
    unsigned char* stages = aligned_shared();
    auto* full = reinterpret_cast<uint64_t*>(stages + kStages * kStageBytes);
    uint64_t* room = full + kStages;
    const uint32_t rank = cluster_rank();
    const int first_row = static_cast<int>(blockIdx.x) * kRows;
    const int steps = all_steps - (fault == kUnequalSteps && rank == 1);
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    if (thread == 0) {
        for (int i = 0; i < kStages; ++i) {
            mbarrier_init(full + i, 1);
            mbarrier_init(room + i, fault == kNoArrivals ? 4 : 8);
        }
        fence_proxy_async();
        if (fault != kNoClusterFence) fence_mbarrier_init();
    }
    if (fault == kNoBarrierBefore) {
        __syncthreads();
    } else {
        cluster_barrier();
    }
    const auto end = [&] {
        if (fault != kNoBarrierAfter && (fault != kBarrierOfOne || rank == 0)) cluster_barrier();
    };
    if (warp == 4) {
        for (int step = 0; step < steps && lane == 0; ++step) {
            const int slot = step % kStages, turn = step / kStages;
            unsigned char* stage = stages + slot * kStageBytes;
            mbarrier_wait(room + slot, turn % 2 == 0);
            mbarrier_arrive_expect(full + slot,
                                   kStageBytes - (fault == kHalfOfBytes ? kBytesB / 2 : 0));
            tensor_copy(stage, a, full + slot, step * kDepth, first_row);
            const uint32_t half = fault == kSameHalf ? 0 : rank;
            const uint32_t mask = fault == kMaskOfSelf    ? 1u << rank
                                  : fault == kMaskOfOther ? 2u >> rank
                                  : fault == kMaskTooWide ? 7u
                                                          : 3u;
            tensor_multicast(stage + kBytesA + half * kBytesB / 2, b, full + slot, step * kDepth,
                             static_cast<int>(half) * kColumns / 2, static_cast<uint16_t>(mask));
        }
        return end();
    }
    const int q = lane / 4, c = lane % 4;
    float d[kColumns / 2] = {};
    uint32_t registers[4][4];
    for (int step = 0; step < steps; ++step) {
        const int slot = step % kStages;
        const unsigned char* stage = stages + slot * kStageBytes;
        mbarrier_wait(full + slot, step / kStages % 2);
        for (int k = 0; k < 4; ++k) {
            for (int i = 0; i < 4; ++i) {
                const int row = warp * 16 + q + i % 2 * 8, chunk = 2 * k + i / 2;
                std::memcpy(&registers[k][i], stage + row * 128 + (chunk ^ q) * 16 + c * 4, 4);
            }
        }
        wgmma_fence(registers);
        for (uint32_t k = 0; k < 4; ++k) {
            wgmma_tf32<kColumns>(d, registers[k],
                                 swizzled_matrix(shared_address(stage) + kBytesA + 32 * k));
        }
        wgmma_commit();
        wgmma_wait<0>();
        if (lane > 1) continue;
        uint32_t to = static_cast<uint32_t>(lane);  // each of two lanes to one of the blocks
        if (to != rank && (fault == kArrivalMissing || fault == kNoArrivals)) continue;
        if (fault == kArrivalsAtSelf) to = rank;
        if (fault == kRankTooHigh) ++to;
        mbarrier_arrive(room + slot, to);
    }
    for (int i = 0; i < kColumns / 2; ++i) {
        const int row = first_row + warp * 16 + q + i % 4 / 2 * 8;
        y[row * kColumns + i / 4 * 8 + 2 * c + i % 2] = d[i];
    }
    end();
}

py::array_t<float> run_pipeline(const py::array& a, const py::array& b, int fault) {
    const py::ssize_t rows = a.shape(0);
    py::array_t<float> y({rows, py::ssize_t{kColumns}});
    const int steps = static_cast<int>((a.shape(1) + kDepth - 1) / kDepth);
    launch_clusters("pipeline", pipeline, 2, static_cast<unsigned>(rows / kRows), 160,
                    kAlignment + kStages * kStageBytes + 256, nullptr,
                    matrix_map(a, kRows, kDepth, 3), matrix_map(b, kColumns / 2, kDepth, 3), steps,
                    Fault(fault), y.mutable_data());
    return y;
}

__global__ void ranks(int* y) {
    y[blockIdx.x] = static_cast<int>(cluster_rank());
    cluster_barrier();
}

py::array_t<int> run_ranks(unsigned blocks, unsigned cluster) {
    py::array_t<int> y(blocks);
    launch_clusters("ranks", ranks, cluster, blocks, 32, 0, nullptr, y.mutable_data());
    return y;
}

}  // namespace

PYBIND11_MODULE(_cuda_clusters, m) {
    m.doc() = "Clusters in the emulation of Hopper, and faults that it finds.";
    m.def("set_seed", &emulation::set_seed);
    m.def("pipeline", &run_pipeline);
    m.def("ranks", &run_ranks);
}
