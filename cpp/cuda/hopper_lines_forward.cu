// Convolution forward over images of few channels with wgmma, in tf32 (hopper_lines.cuh).
//
//   y (pixels of y, out) = act(bias + windows of x (pixels of y, window) · weight (window, out))
//
// Blocks: one a multiprocessor and kColumns output channels, with equal shares of the items one after
//   the other. Two warpgroups take them in turns, 64 rows of y each; one thread has lines copied.
// Depths: of each line of the window those in whole steps of 32 elements, line by line, 4 products of
//   8 depths a step; then the elements behind the last step, a rest of as many lines as the window has,
//   filled up to 16, 2 products each. Of AlexNet's 363 that makes 46 products.
// Shared memory: the weights of kColumns channels for all depths, which a block reads from memory
//   once, rounds, and keeps, in rows of 32 depths with a swizzle of 128 bytes; and the ring of lines.
//   A lane reads A from lines, 4 words in each of 8 windows a warp: neighbours 12 elements apart are in
//   different banks.
// Cost of an item: 2 · 64 · window · kColumns FLOP, with rows and depths filled up; from L2
//   stride_height lines. Cycles of AlexNet's, 64 channels: tensor cores 1472, shared memory 1472.
// Numerics: both operands are rounded to 10 bits of mantissa, exact products are added in float32 as
//   the tensor cores do, in the order of depths above, whatever block has the item: the same bits for
//   every number of blocks.

#include <algorithm>

#include "hopper_gemm.cuh"
#include "hopper_launch.cuh"
#include "hopper_layers.cuh"
#include "hopper_lines_shape.cuh"

namespace alexnet::cuda {
namespace {

constexpr uint32_t kConsumers = 2;  // warpgroups
constexpr uint32_t kThreads = kConsumers * kWarpgroup + kWarp;

// --- weights -------------------------------------------------------------------------------------

// Rows of 32 depths for all output channels: of steps, then of rests, two a row.
__host__ __device__ uint32_t weight_rows(const HopperLines& w) {
    return w.kernel_lines * w.chunks() + (w.rests() + 1) / 2;
}

// By all threads that multiply: four depths of a channel at once.
template <uint32_t columns>
__device__ void put_weights(unsigned char* target, const HopperLines& w, const float* weight,
                            uint32_t first_column, uint32_t out) {
    const uint32_t steps = w.kernel_lines * w.chunks(), fours = weight_rows(w) * 8;
    for (uint32_t i = threadIdx.x; i < fours * columns; i += kConsumers * kWarpgroup) {
        const uint32_t column = i % columns, four = i / columns, row = four / 8, place = four % 8;
        uint32_t line, position, next;  // of the first depth; lines to the next
        if (row < steps) {
            line = row / w.chunks();
            position = row % w.chunks() * kLineStep + 4 * place;
            next = 0;
        } else {
            line = place % 4 * 4;
            position = w.chunks() * kLineStep + (row - steps) * 2 + place / 4;
            next = 1;
        }
        Floats<4> rounded;
#pragma unroll
        for (uint32_t e = 0; e < 4; ++e) {
            const uint32_t of_line = line + e * next, of_run = position + e * (1 - next);
            const bool exists =
                of_line < w.kernel_lines && of_run < w.run && first_column + column < out;
            const size_t source = size_t{of_line * w.run + of_run} * out + first_column + column;
            rounded.at[e] = exists ? __uint_as_float(to_tf32(weight[source])) : 0.0f;
        }
        unsigned char* chunk = target + (row * columns + column) * kRowBytes;
        store_floats<4>(reinterpret_cast<float*>(chunk + (place ^ column % 8) * 16), rounded);
    }
}

// --- products ------------------------------------------------------------------------------------

template <uint32_t columns>
__device__ void multiply_items(const HopperProduct<float>& p, const HopperLines& w,
                               const HopperRing<float>& ring, const unsigned char* weights,
                               const HopperLineShare& share) {
    const uint32_t group = threadIdx.x / kWarpgroup, lane = threadIdx.x % kWarp;
    const uint32_t row = threadIdx.x % kWarpgroup / kWarp * 16, q = lane / 4, c = lane % 4;
    const uint64_t matrix = swizzled_matrix(shared_address(weights));
    constexpr uint32_t kNextRow = columns * kRowBytes / 16;
    const uint32_t steps = w.kernel_lines * w.chunks();
    uint32_t places[2];  // of the first element that a lane takes of its two windows
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {  // rows without a window are not stored
        places[i] = w.front + min(row + q + 8 * i, w.windows - 1) * w.step;
    }
    HopperLinesSeen<float> seen(ring, w);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    uint32_t lines = 0;  // that are copied for the items so far
    for (uint32_t number = share.begin; number < share.end; ++number, item.advance(w)) {
        lines = item.first_line + w.kernel_lines;
        if ((number - share.begin) % kConsumers != group) continue;
        seen.take(item.first_line, lines);
        float sums[columns / 2] = {};
        uint32_t slot = seen.slot(0), chunk = 0;
        uint64_t b = matrix;
        // While the products of one step are on their way the next step's A is loaded.
        uint32_t even[4][4], odd[4][4];
        const auto multiply = [&](uint32_t (&a)[4][4]) {
            const float* elements = ring.lines + slot * w.pitch + chunk * kLineStep + c;
#pragma unroll
            for (uint32_t k = 0; k < 4; ++k) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {  // the other window, the other four depths
                    a[k][i] = to_tf32(elements[places[i % 2] + 8 * k + i / 2 * 4]);
                }
            }
            wgmma_fence(a);
#pragma unroll
            for (uint32_t k = 0; k < 4; ++k) wgmma_tf32<columns>(sums, a[k], b + 2 * k);
            wgmma_commit();
            wgmma_wait<1>();
            b += kNextRow;
            if (++chunk < w.chunks()) return;
            chunk = 0;
            if (++slot == w.slots) slot = 0;
        };
        // Steps in pairs, without a branch between: else the compiler has each product wait.
        for (uint32_t pair = 0; pair < steps / 2; ++pair) {
            multiply(even);
            multiply(odd);
        }
        wgmma_wait<0>();
        if (steps % 2 == 1) {
            multiply(even);
            wgmma_wait<0>();
        }
        for (uint32_t rest = 0; rest < w.rests(); ++rest) {
            uint32_t a[2][4];
#pragma unroll
            for (uint32_t k = 0; k < 2; ++k) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    const uint32_t of_window = 8 * k + i / 2 * 4 + c;
                    const uint32_t place = seen.slot(of_window) * w.pitch + w.chunks() * kLineStep +
                                           rest + places[i % 2];
                    a[k][i] = of_window < w.kernel_lines ? to_tf32(ring.lines[place]) : 0;
                }
            }
            wgmma_fence(a);
#pragma unroll
            for (uint32_t k = 0; k < 2; ++k) {
                wgmma_tf32<columns>(sums, a[k], b + rest / 2 * kNextRow + rest % 2 * 4 + 2 * k);
            }
            wgmma_commit();
            wgmma_wait<0>();
        }
        const uint32_t first = item.first_window(w);
        store<columns>(p, {first, first + item.windows(w), blockIdx.y * columns, 0, 0, 0}, sums,
                       first + row, lane);
    }
    seen.take(lines, lines);
}

template <uint32_t columns>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_lines_forward(const __grid_constant__ HopperProduct<float> p,
                         const __grid_constant__ HopperLines w, const float* weight) {
    unsigned char* shared = dynamic_shared<unsigned char>();
    unsigned char* weights = shared + (0u - shared_address(shared)) % kPatternBytes;
    const uint32_t weight_bytes = weight_rows(w) * columns * kRowBytes;
    const HopperRing<float> ring(weights + weight_bytes, w);
    uint64_t* weights_there = ring.room + w.slots;
    if (threadIdx.x == 0) {
        ring.begin(w, kConsumers * (kWarpgroup / kWarp));
        mbarrier_init(weights_there, kConsumers * kWarpgroup);
        fence_proxy_async();
    }
    __syncthreads();
    const auto share = HopperLineShare::of(w, blockIdx.x, gridDim.x);
    if (threadIdx.x >= kConsumers * kWarpgroup) {
        if (threadIdx.x % kWarp != 0) return;
        HopperLineCopies<float> copies(ring, p.a, w);
        HopperLineItem item = HopperLineItem::of(w, share.begin);
        for (uint32_t number = share.begin; number < share.end; ++number, item.advance(w)) {
            copies.copy(item);
        }
        return;
    }
    put_weights<columns>(weights, w, weight, blockIdx.y * columns, p.n);
    fence_proxy_async();
    mbarrier_arrive(weights_there, 0);
    mbarrier_wait(weights_there, 0);
    multiply_items<columns>(p, w, ring, weights, share);
}

// --- from the host -------------------------------------------------------------------------------

size_t fixed_bytes(const Conv2dShape& s) {  // of shared memory, beside the ring
    const HopperLines w = hopper_lines(s);
    return kPatternBytes + weight_rows(w) * line_columns(s.out_channels) * kRowBytes +
           sizeof(uint64_t);
}

template <uint32_t columns>
void launch_forward(const Conv2dShape& s, const HopperProduct<float>& p, const HopperLines& w,
                    const float* weight, Stream stream) {
    const size_t across = ceil_div(p.n, columns);
    const size_t blocks = std::max<size_t>(1, hopper_multiprocessors() / across);
    launch("hopper_lines_forward", hopper_lines_forward<columns>,
           dim3(static_cast<unsigned>(std::min<size_t>(w.items(), blocks)),
                static_cast<unsigned>(across)),
           dim3(kThreads), fixed_bytes(s) + HopperRing<float>::bytes(w), stream, p, w, weight);
}

}  // namespace

bool hopper_lines_conv2d(const Conv2dShape& s, const float* x, const float* weight,
                         const float* bias, bool relu, Precision precision, float* y,
                         Stream stream) {
    if (precision != Precision::kTf32 || !hopper_lines_serve(s, fixed_bytes)) return false;
    const HopperLines w = hopper_lines(s, fixed_bytes(s));
    HopperProduct<float> p = hopper_lines_product(s, x, w);
    p.m = static_cast<uint32_t>(s.batch * s.out_height * s.out_width);
    p.c = y;
    p.bias = bias;
    p.relu = relu;
    line_columns(s.out_channels) == 96 ? launch_forward<96>(s, p, w, weight, stream)
                                       : launch_forward<64>(s, p, w, weight, stream);
    return true;
}

}  // namespace alexnet::cuda
