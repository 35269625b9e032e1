// Convolution forward over images of few channels with wgmma: of float in tf32, of bfloat16 and
// float16 as they are (hopper_lines.cuh).
//
//   y (pixels of y, out) = act(bias + windows of x (pixels of y, window) · weight (window, out))
//
// Blocks: one a multiprocessor and kColumns output channels, with equal shares of the items one after
//   the other. Two warpgroups take them in turns, 64 rows of y each; one thread has lines copied.
// Depths: of each line of the window those in whole steps of 32 elements, line by line; then the
//   elements behind the last step, a rest of as many lines as the window has, filled up to 16. A
//   product has 8 depths, of 16 bits 16: of AlexNet's 363 that makes 46 products or 23, with padding of
//   3 pixels 24.
// Words: a lane reads two elements of 16 bits at once, from an even place. Where windows begin at odd
//   ones, as copies begin at multiples of 16 bytes, the element before a line of the window is the first
//   one of its first step: it is taken for zero, as its weight is.
// Shared memory: the weights of kColumns channels for all depths, which a block reads from memory
//   once, rounds, and keeps, in rows of 128 bytes of depths with a swizzle as long; and the ring of
//   lines. A lane reads A from lines, a word of each of its depths, a warp 4 words of 8 windows each: of
//   float windows 12 elements apart are in different banks, of 16 bits it takes two wavefronts.
// Cost of an item: 2 · 64 · window · kColumns FLOP, with rows and depths filled up; from L2
//   stride_height lines. Cycles of AlexNet's, 64 channels: tensor cores 1472, shared memory 1472; of 16
//   bits 736 and 1104, with that padding 768 and 1152.
// Numerics: of float both operands are rounded to 10 bits of mantissa. Exact products are added in
//   float32 as the tensor cores do, in the order of depths above, whatever block has the item: the same
//   bits for every number of blocks.

#include <algorithm>

#include "hopper_gemm.cuh"
#include "hopper_launch.cuh"
#include "hopper_layers.cuh"
#include "hopper_lines_shape.cuh"

namespace alexnet::cuda {
namespace {

constexpr uint32_t kConsumers = 2;  // warpgroups
constexpr uint32_t kThreads = kConsumers * kWarpgroup + kWarp;

// An element as it is multiplied.
__device__ float operand(float element) { return __uint_as_float(to_tf32(element)); }
template <class T>
__device__ float operand(T element) {
    return to_float(element);
}

// --- weights -------------------------------------------------------------------------------------

// Depths: of steps, line by line, then of rests.
__host__ __device__ uint32_t step_depths(const HopperLines& w) {
    return w.kernel_lines * w.chunks() * kLineStep;
}
template <class T>
__host__ __device__ uint32_t weight_rows(const HopperLines& w) {
    return (step_depths(w) + w.rests() * kMostRestLines + kStepDepth<T> - 1) / kStepDepth<T>;
}

// Of a matrix descriptor, from the first depth to another one, that of a piece.
template <class T, uint32_t columns>
__device__ uint64_t to_depth(uint32_t depth) {
    return depth / kStepDepth<T> * (columns * kRowBytes / 16) +
           depth % kStepDepth<T> * sizeof(T) / 16;
}

// 16 bytes of depths of a channel.
template <class T>
__device__ void load_weights(T (&elements)[kVector<T>], const HopperLines& w, const T* weight,
                             uint32_t chunk, uint32_t channel, uint32_t out) {
    const uint32_t depth = chunk * kVector<T>, rest_depth = depth - step_depths(w);
    const bool is_rest = depth >= step_depths(w);
    const uint32_t step = depth / kLineStep, of_line = step % w.chunks();
    const uint32_t line = is_rest ? rest_depth % kMostRestLines : step / w.chunks();
    const uint32_t place = is_rest ? w.chunks() * kLineStep + rest_depth / kMostRestLines
                                   : of_line * kLineStep + depth % kLineStep;
#pragma unroll
    for (uint32_t e = 0; e < kVector<T>; ++e) {
        const uint32_t h = line + (is_rest ? e : 0);
        const uint32_t position = place + (is_rest ? 0 : e) - w.lead;  // before 0: beyond the run
        const bool exists = h < w.kernel_lines && position < w.run && channel < out;
        const size_t source = size_t{h * w.run + position} * out + channel;
        elements[e] = exists ? weight[source] : T{};
    }
}

// By all threads that multiply, each of one channel, with 32 loads on their way.
template <class T, uint32_t columns>
__device__ void put_weights(unsigned char* target, const HopperLines& w, const T* weight,
                            uint32_t first_column, uint32_t out) {
    constexpr uint32_t kAtOnce = 32 / kVector<T>, kStride = kConsumers * kWarpgroup / columns;
    const uint32_t count = weight_rows<T>(w) * (kRowBytes / 16);  // chunks of a channel
    const uint32_t column = threadIdx.x % columns, own = threadIdx.x / columns;
    if (own >= kStride) return;
    for (uint32_t first = own; first < count; first += kAtOnce * kStride) {
        T elements[kAtOnce][kVector<T>];  // nothing is made of them before all are on their way
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; ++n) {  // behind the last there is nothing to load
            load_weights(elements[n], w, weight, first + n * kStride, first_column + column, out);
        }
#pragma unroll
        for (uint32_t n = 0; n < kAtOnce; ++n) {
            const uint32_t chunk = first + n * kStride;
            if (chunk >= count) break;
            Floats<kVector<T>> rounded;
#pragma unroll
            for (uint32_t e = 0; e < kVector<T>; ++e) rounded.at[e] = operand(elements[n][e]);
            unsigned char* row = target + (chunk / 8 * columns + column) * kRowBytes;
            store_floats<kVector<T>>(reinterpret_cast<T*>(row + (chunk % 8 ^ column % 8) * 16),
                                     rounded);
        }
    }
}

// --- products ------------------------------------------------------------------------------------

// A word of A: kWord<T> elements, one behind the other.
template <class T>
__device__ uint32_t load_word(const T* elements) {
    if constexpr (std::is_same_v<T, float>) {
        return to_tf32(*elements);
    } else {
        return *reinterpret_cast<const uint32_t*>(elements);
    }
}

template <class T, uint32_t columns>
__device__ void multiply_items(const HopperProduct<T>& p, const HopperLines& w,
                               const HopperRing<T>& ring, const unsigned char* weights,
                               const HopperLineShare& share) {
    constexpr uint32_t kPieces = kLineStep / kPiece<T>, kRestPieces = kMostRestLines / kPiece<T>;
    const uint32_t group = threadIdx.x / kWarpgroup, lane = threadIdx.x % kWarp;
    const uint32_t row = threadIdx.x % kWarpgroup / kWarp * 16;
    const uint64_t matrix = swizzled_matrix(shared_address(weights));
    const uint32_t chunks = w.chunks(), steps = w.kernel_lines * chunks;
    uint32_t places[2];  // of the first elements of a lane's two windows
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {  // rows without a window are not stored
        places[i] = w.front - w.lead + min(row + lane / 4 + 8 * i, w.windows - 1) * w.step;
    }
    const uint32_t behind_lead = w.lead != 0 && lane % 4 == 0 ? 0xffff0000 : 0xffffffff;
    HopperLinesSeen<T> seen(ring, w);
    HopperLineItem item = HopperLineItem::of(w, share.begin);
    uint32_t lines = 0;  // that are copied for the items so far
    for (uint32_t number = share.begin; number < share.end; ++number, item.advance(w)) {
        lines = item.first_line + w.kernel_lines;
        if ((number - share.begin) % kConsumers != group) continue;
        seen.take(item.first_line, lines);
        float sums[columns / 2] = {};
        uint32_t slot = seen.slot(0), chunk = 0, depth = 0;
        // While the products of one step are on their way the next step's A is loaded.
        uint32_t even[kPieces][4], odd[kPieces][4];
        const auto multiply = [&](uint32_t (&a)[kPieces][4]) {
            const T* elements = ring.lines + slot * w.pitch + chunk * kLineStep;
#pragma unroll
            for (uint32_t k = 0; k < kPieces; ++k) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    a[k][i] = load_word(elements + places[i % 2] + word_depth<T>(k, i / 2, lane));
                }
            }
            if constexpr (kWord<T> > 1) {  // the first elements of a line
                const uint32_t mask = chunk == 0 ? behind_lead : 0xffffffff;
                a[0][0] &= mask;
                a[0][1] &= mask;
            }
            const uint64_t b = matrix + to_depth<T, columns>(depth);
            wgmma_fence(a);
#pragma unroll
            for (uint32_t k = 0; k < kPieces; ++k) {
                multiply_piece<T, columns, true>(sums, a[k], b + 2 * k);
            }
            wgmma_commit();
            wgmma_wait<1>();
            depth += kLineStep;
            if (++chunk < chunks) return;
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
            const T* elements = ring.lines + chunks * kLineStep + rest;
            uint32_t a[kRestPieces][4];
#pragma unroll
            for (uint32_t k = 0; k < kRestPieces; ++k) {
#pragma unroll
                for (uint32_t i = 0; i < 4; ++i) {
                    T word[kWord<T>];
#pragma unroll
                    for (uint32_t e = 0; e < kWord<T>; ++e) {
                        const uint32_t line = word_depth<T>(k, i / 2, lane) + e;
                        word[e] = line < w.kernel_lines
                                      ? elements[seen.slot(line) * w.pitch + places[i % 2]]
                                      : T{};
                    }
                    a[k][i] = join_word(word);
                }
            }
            const uint64_t b = matrix + to_depth<T, columns>(depth);
            wgmma_fence(a);
#pragma unroll
            for (uint32_t k = 0; k < kRestPieces; ++k) {
                multiply_piece<T, columns, true>(sums, a[k], b + 2 * k);
            }
            wgmma_commit();
            wgmma_wait<0>();
            depth += kMostRestLines;
        }
        const uint32_t first = item.first_window(w);
        store<columns>(p, {first, first + item.windows(w), blockIdx.y * columns, 0, 0, 0}, sums,
                       first + row, lane);
    }
    seen.take(lines, lines);
}

template <class T, uint32_t columns>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_lines_forward(const __grid_constant__ HopperProduct<T> p,
                         const __grid_constant__ HopperLines w, const T* weight) {
    unsigned char* shared = dynamic_shared<unsigned char>();
    unsigned char* weights = shared + (0u - shared_address(shared)) % kPatternBytes;
    const HopperRing<T> ring(weights + weight_rows<T>(w) * columns * kRowBytes, w);
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
        HopperLineCopies<T> copies(ring, p.a, w);
        HopperLineItem item = HopperLineItem::of(w, share.begin);
        for (uint32_t number = share.begin; number < share.end; ++number, item.advance(w)) {
            copies.copy(item);
        }
        return;
    }
    put_weights<T, columns>(weights, w, weight, blockIdx.y * columns, p.n);
    fence_proxy_async();
    mbarrier_arrive(weights_there, 0);
    mbarrier_wait(weights_there, 0);
    multiply_items<T, columns>(p, w, ring, weights, share);
}

// --- from the host -------------------------------------------------------------------------------

template <class T>
HopperLines forward_lines(const Conv2dShape& s, size_t fixed = 0) {
    HopperLines w = hopper_lines<T>(s, fixed);
    w.lead = w.front % kWord<T>;
    return w;
}

template <class T>
size_t fixed_bytes(const Conv2dShape& s) {  // of shared memory, beside the ring
    const uint32_t rows = weight_rows<T>(forward_lines<T>(s));
    return kPatternBytes + rows * line_columns(s.out_channels) * kRowBytes + sizeof(uint64_t);
}

template <class T, uint32_t columns>
void launch_forward(const Conv2dShape& s, const HopperProduct<T>& p, const HopperLines& w,
                    const T* weight, Stream stream) {
    const size_t across = ceil_div(p.n, columns);
    const size_t blocks = std::max<size_t>(1, multiprocessors() / across);
    note_hopper_lines();
    launch("hopper_lines_forward", hopper_lines_forward<T, columns>,
           dim3(static_cast<unsigned>(std::min<size_t>(w.items(), blocks)),
                static_cast<unsigned>(across)),
           dim3(kThreads), fixed_bytes<T>(s) + HopperRing<T>::bytes(w), stream, p, w, weight);
}

}  // namespace

template <class T>
bool hopper_lines_conv2d(const Conv2dShape& s, const T* x, const T* weight, const float* bias,
                         bool relu, Precision precision, T* y, Stream stream) {
    if (!lines_have<T>(precision) || !hopper_lines_serve<T>(s, fixed_bytes<T>)) return false;
    const HopperLines w = forward_lines<T>(s, fixed_bytes<T>(s));
    HopperProduct<T> p = hopper_lines_product(s, x, w);
    p.m = static_cast<uint32_t>(s.batch * s.out_height * s.out_width);
    p.c = y;
    p.bias = bias;
    p.relu = relu;
    line_columns(s.out_channels) == 96 ? launch_forward<T, 96>(s, p, w, weight, stream)
                                       : launch_forward<T, 64>(s, p, w, weight, stream);
    return true;
}

#define ALEXNET_INSTANTIATE(T)                                                                    \
    template bool hopper_lines_conv2d(const Conv2dShape&, const T*, const T*, const float*, bool, \
                                      Precision, T*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
