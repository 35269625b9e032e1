// A pipeline as that of Hopper's kernels over lines of images, with one planted fault each.
//
//   y[i] (64 × 32) = sum over r < 2 of windows of line i + r (64 × 32) · b[r] (32 × 32)ᵀ    in tf32
//
// Windows are 32 elements, 4 apart. A warpgroup reads them from a ring of three lines, which the tensor
// copy engine fills, into the registers of A; another one writes B by ordinary stores, into one stage, so
// that what is wrong with it is not over before it is read.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "hopper_device.cuh"
#include "hopper_maps.h"
#include "launch.cuh"

namespace {

namespace py = pybind11;
using namespace alexnet::cuda;
using namespace emulation::maps;

constexpr int kRows = 64, kColumns = 32, kStep = 4, kLine = 288, kKernelLines = 2;
constexpr int kSlots = 3, kStages = 1;
constexpr uint32_t kLineBytes = 9 * 128, kStageBytes = kColumns * 128;
static_assert(kLine * 4 == kLineBytes);

enum Fault {
    kNone,
    kNoFence,              // of what the writers wrote
    kFenceBeforeWrites,    // by each writer
    kArrivalBeforeWrites,  // of each writer at the stage
    kWriterMissing,        // at the stage
    kNoWaitForRoom,        // of the writers
    kNoWaitForLine,        // of the readers
    kWrongPhaseOfLine,     // that the readers wait for
    kLineKept,             // never given back
    kWrongLineGivenBack,   // one that the next windows see
    kTooManyBytes,         // of a line, expected
};

struct Turn {  // of a ring
    int number = 0, parity = 0;
    void advance(int count) {
        if (++number < count) return;
        number = 0;
        parity ^= 1;
    }
};

__global__ void pipeline(const CUtensorMap image, const float* b, int items, Fault fault,
                         float* y) {
    unsigned char* stages = aligned_shared();
    unsigned char* ring = stages + kStages * kStageBytes;
    auto* line_full = reinterpret_cast<uint64_t*>(ring + kSlots * kLineBytes);
    uint64_t *line_room = line_full + kSlots, *full = line_room + kSlots, *room = full + kStages;
    const int thread = static_cast<int>(threadIdx.x) % 128, warp = thread / 32, lane = thread % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < kSlots; ++i) {
            mbarrier_init(line_full + i, 1);
            mbarrier_init(line_room + i, 4);
        }
        for (int i = 0; i < kStages; ++i) {
            mbarrier_init(full + i, 128);
            mbarrier_init(room + i, 4);
        }
        fence_proxy_async();
    }
    __syncthreads();
    Turn stage;
    if (threadIdx.x >= 128) {
        Turn line;
        for (int step = 0; step < items * kKernelLines; ++step) {
            const bool is_new = step % kKernelLines == kKernelLines - 1 || step == 0;
            if (thread == 0 && is_new) {
                const int number = step / kKernelLines + step % kKernelLines;
                mbarrier_wait(line_room + line.number, line.parity ^ 1);
                mbarrier_arrive_expect(line_full + line.number,
                                       kLineBytes + (fault == kTooManyBytes ? 16 : 0));
                for (int box = 0; box < kLine; box += 96) {
                    tensor_copy(ring + line.number * kLineBytes + box * 4, image,
                                line_full + line.number, box, number);
                }
                line.advance(kSlots);
            }
            if (fault != kNoWaitForRoom) mbarrier_wait(room + stage.number, stage.parity ^ 1);
            if (fault == kArrivalBeforeWrites) {
                mbarrier_arrive(full + stage.number, 0);
                for (int i = 0; i < 8; ++i) __syncwarp();  // as long as readers take to come here
            }
            if (fault == kFenceBeforeWrites) fence_proxy_async();
            const float* of_line = b + step % kKernelLines * kColumns * 32;
            for (int i = thread; i < kColumns * 8; i += 128) {
                const int column = i % kColumns, chunk = i / kColumns;
                unsigned char* row = stages + stage.number * kStageBytes + column * 128;
                std::memcpy(row + (chunk ^ column % 8) * 16, of_line + column * 32 + 4 * chunk, 16);
            }
            if (fault != kNoFence && fault != kFenceBeforeWrites) fence_proxy_async();
            if (fault == kWriterMissing && thread == 5) return;
            if (fault != kArrivalBeforeWrites) mbarrier_arrive(full + stage.number, 0);
            stage.advance(kStages);
        }
        return;
    }
    Turn oldest;
    for (int item = 0; item < items; ++item) {
        float d[kColumns / 2] = {};
        uint32_t a[4][4];
        Turn line = oldest;
        for (int r = 0; r < kKernelLines; ++r) {
            if (fault != kNoWaitForLine) {
                mbarrier_wait(line_full + line.number,
                              static_cast<uint32_t>(line.parity ^ (fault == kWrongPhaseOfLine)));
            }
            mbarrier_wait(full + stage.number, static_cast<uint32_t>(stage.parity));
            const auto* elements = reinterpret_cast<const float*>(ring + line.number * kLineBytes);
            for (int k = 0; k < 4; ++k) {
                for (int i = 0; i < 4; ++i) {
                    const int window = warp * 16 + lane / 4 + i % 2 * 8;
                    const int depth = 8 * k + i / 2 * 4 + lane % 4;
                    a[k][i] = to_tf32(elements[window * kStep + depth]);
                }
            }
            const uint64_t matrix =
                swizzled_matrix(shared_address(stages + stage.number * kStageBytes));
            wgmma_fence(a);
            for (uint64_t k = 0; k < 4; ++k) wgmma_tf32<kColumns>(d, a[k], matrix + 2 * k);
            wgmma_commit();
            wgmma_wait<0>();
            if (lane == 0) mbarrier_arrive(room + stage.number, 0);
            stage.advance(kStages);
            line.advance(kSlots);
        }
        const int slot = (oldest.number + (fault == kWrongLineGivenBack)) % kSlots;
        if (lane == 0 && fault != kLineKept) mbarrier_arrive(line_room + slot, 0);
        oldest.advance(kSlots);
        for (int i = 0; i < kColumns / 2; ++i) {
            const int row = item * kRows + warp * 16 + lane / 4 + i % 4 / 2 * 8;
            y[row * kColumns + i / 4 * 8 + 2 * (lane % 4) + i % 2] = d[i];
        }
    }
}

// image (lines, elements), b (2, 32, 32); y (lines - 1, 64, 32).
py::array_t<float> run_pipeline(const py::array& image, const py::array_t<float>& b, int fault) {
    const auto items = static_cast<int>(image.shape(0)) - (kKernelLines - 1);
    py::array_t<float> y({items, kRows, kColumns});
    launch("pipeline", pipeline, 1, 256,
           kAlignment + kStages * kStageBytes + kSlots * kLineBytes + 256, nullptr,
           matrix_map(image, 1, 96, 0), b.data(), items, Fault(fault), y.mutable_data());
    return y;
}

}  // namespace

PYBIND11_MODULE(_cuda_lines, m) {
    m.doc() = "A pipeline over lines of an image in the emulation of Hopper, and faults in it.";
    m.def("set_seed", &emulation::set_seed);
    m.def("pipeline", &run_pipeline);
}
