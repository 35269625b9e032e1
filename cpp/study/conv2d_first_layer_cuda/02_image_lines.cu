// Image lines in a ring: a pixel comes once for all the windows below which it lies.
//
// Serves: at most 40 elements in a line of a window, strides not above its lines, image lines of whole
//   16 bytes, output channels in multiples of 4; on a device of compute capability 9.0 alone.
// Precision: tf32.
// Change: in NHWC memory a line of a window is one run of neighbours, and the runs of neighbouring
//   windows overlap: 33 elements, 12 apart. So no window is copied. The copy engine brings lines of
//   the image into a ring; warps read their part of the windows from there, into the registers that
//   wgmma takes a from. A block walks down eight lines of y: each next one needs `stride` new lines
//   of x. It reads the weights once, and keeps them as wgmma takes b, lines filled up to 40 depths.
// Why: of 11 x 11 windows with stride 4 an element is in 7.6, and gathering them took an instruction of
//   a warp for 32 elements.
// Predicted: 4 times fewer sectors: x once, but for lines between blocks, and weights by 56 blocks
//   instead of 196.
// Gained: 4.18 times fewer sectors, counted in the emulation. No GPU has timed it. And 37 times fewer
//   copies. A device has 132 multiprocessors for the 56 blocks: the next rung cuts more finely.

#include "hopper.cuh"

namespace {

constexpr int kWindows = 64, kColumns = 64, kDown = 8;  // of a tile, and tiles of a block
constexpr int kThreads = 160, kWarps = 4;               // a warpgroup multiplies; a warp copies
constexpr int kPieces = kFilled / 8;                    // products of a line

__global__ void __launch_bounds__(kThreads)
    image_lines(const __grid_constant__ CUtensorMap map, Conv2d s, ImageLines of,
                const float* weight, float* y) {
    const int pitch = of.pitch(), step = s.stride * s.in_channels;
    float* weights = aligned_shared();  // [row of depths][column][depth], swizzled
    float* ring = weights + of.weights;
    uint64_t* full = reinterpret_cast<uint64_t*>(ring + of.slots * pitch);
    uint64_t* room = full + of.slots;
    const int segments = (s.out_width + kWindows - 1) / kWindows;
    const int first_window = static_cast<int>(blockIdx.x) % segments * kWindows;
    const int first_line = static_cast<int>(blockIdx.x) / segments * kDown;  // of y
    const int end_line = min(first_line + kDown, s.out_height);
    const int first_column = static_cast<int>(blockIdx.y) * kColumns;
    const int n = static_cast<int>(blockIdx.z);
    const int warp = thread_of_block() / 32, lane = thread_of_block() % 32;
    for (int slot = thread_of_block(); slot < of.slots; slot += kThreads) {
        mbarrier_init(full + slot, 1);
        mbarrier_init(room + slot, kWarps);
    }
    for (int i = thread_of_block(); i < of.weights; i += kThreads) {
        const int column = i % kColumns, depth = i / kColumns;
        const int line = depth / kFilled, at = depth % kFilled;
        const int o = first_column + column, place = (line * of.run + at) * s.out_channels + o;
        const bool inside = line < s.kernel_height && at < of.run && o < s.out_channels;
        float* row = weights + (depth / kLineDepths * kColumns + column) * kLineDepths;
        row[depth % kLineDepths ^ column % 8 * 4] =
            __uint_as_float(to_tf32(inside ? weight[place] : 0.0f));
    }
    fence_proxy_async();  // wgmma sees the weights, the engine the barriers
    __syncthreads();
    if (warp == kWarps) {
        const int lines = (end_line - first_line - 1) * s.stride + s.kernel_height;
        for (int line = 0; lane == 0 && line < lines; ++line) {
            const int slot = line % of.slots;
            mbarrier_wait(room + slot, line / of.slots % 2 ^ 1);
            mbarrier_arrive_expect(full + slot, pitch * sizeof(float));
            for (int at = 0; at < pitch; at += of.box) {
                tensor_copy(ring + slot * pitch + at, map, full + slot,
                            (first_window * s.stride - s.pad_left) * s.in_channels - of.front + at,
                            first_line * s.stride - s.pad_top + line, n);
            }
        }
        return;
    }
    const int q = lane / 4, c = lane % 4, own_window = warp * 16 + q;
    for (int oh = first_line, oldest = 0; oh < end_line; ++oh) {
        float sum[kColumns / 2] = {};
        for (int r = 0, depth = 0; r < s.kernel_height; ++r) {
            const int slot = (oldest + r) % of.slots;
            mbarrier_wait(full + slot, (oldest + r) / of.slots % 2);
            const float* line = ring + slot * pitch + of.front + own_window * step;
            uint32_t left[kPieces][4];
#pragma unroll
            for (int i = 0; i < 4 * kPieces; ++i) {  // what is not the window's is not read
                const int below = i % 2 * 8 * step, at = i / 4 * 8 + i / 2 % 2 * 4 + c;
                left[i / 4][i % 4] = to_tf32(at < of.run ? line[below + at] : 0.0f);
            }
            wgmma_fence(left);
#pragma unroll
            for (int k = 0; k < kPieces; ++k) {
                const float* b =
                    weights + depth / kLineDepths * kColumns * kLineDepths + depth % kLineDepths;
                wgmma_tf32<kColumns>(sum, left[k], swizzled_matrix(shared_address(b)));
                depth += 8;
            }
            wgmma_commit();
            wgmma_wait<0>();
        }
        for (int gone = 0; gone < s.stride; ++gone, ++oldest) {  // no other tile wants these lines
            if (lane == 0) mbarrier_arrive(room + oldest % of.slots, 0);
        }
#pragma unroll
        for (int i = 0; i < kColumns / 4; ++i) {  // pairs of neighbours
            const int ow = first_window + own_window + i % 2 * 8;
            const int column = first_column + i / 2 * 8 + 2 * c;
            if (ow < s.out_width && column < s.out_channels) {
                const float2 pair = {sum[2 * i], sum[2 * i + 1]};
                const int pixel = (n * s.out_height + oh) * s.out_width + ow;
                *reinterpret_cast<float2*>(y + pixel * s.out_channels + column) = pair;
            }
        }
    }
}

}  // namespace

RUNG(const Conv2d& s, const float* x, const float* weight, float* y, Stream stream) {
    const ImageLines of = lines_of(s, kWindows, kColumns);
    if (s.out_channels % 4 != 0 || !has_lines(s, of)) return;
    const CUtensorMap map =
        lines_map(x, s.batch, s.in_height, size_t(s.in_width) * s.in_channels, of.box);
    const dim3 grid(blocks(s.out_width, kWindows) * blocks(s.out_height, kDown),
                    blocks(s.out_channels, kColumns), static_cast<unsigned>(s.batch));
    launch("image_lines", image_lines, grid, kThreads, of.bytes(), stream, map, s, of, weight, y);
}
