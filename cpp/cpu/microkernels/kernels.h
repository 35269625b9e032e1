// The table of micro-kernels: one instance per instruction set, filled in table.cpp, chosen at run
// time in dispatch.cpp. Pointers and block sizes stand together because they only fit together.
// Included by code of every instruction set: plain declarations only.

#ifndef ALEXNET_CPU_MICROKERNELS_KERNELS_H_
#define ALEXNET_CPU_MICROKERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace alexnet {

constexpr size_t kLineBytes = 64;  // of a cache line
constexpr size_t kLineFloats = kLineBytes / sizeof(float);

// A segment: a range of the depth (the summation index) over which A advances by a fixed step, such
// as one row of a convolution's window, or all inputs of a dense layer.
struct GemmSegment {
    size_t offset;  // floats from the tile's first element of A to the segment's
    size_t depth;   // the segment's length, in products
    // Memory to prefetch into L2 during the segment, b_row floats for each product. Null: the part
    // of B that lies GemmRows::prefetch_distance floats on.
    const float* prefetch_from = nullptr;
};

// How the micro-kernel steps through A and B. Element (i, k) of segment s of A is
// a[segments[s].offset + i*row_stride + k*depth_stride]. Rows of B are b_row floats apart; they
// begin with those of the first segment, and those of the next follow.
struct GemmRows {
    size_t row_stride;
    size_t depth_stride;
    size_t b_row;
    const GemmSegment* segments;
    size_t segment_count;
    // Prefetching: every kPrefetchInterval products the tile asks for prefetch_lines cache lines,
    // from the segment's prefetch_from or else from B, prefetch_distance floats on. The tiles that
    // are multiplied with the same panel split its lines among them: `tile` is this one's number.
    size_t prefetch_distance;
    size_t prefetch_lines;  // 0: nothing is prefetched
    size_t tile;
};
constexpr size_t kPrefetchInterval = 8;

// The epilogue of a tile: where its sums start, and what happens to them on their way to memory.
struct GemmEpilogue {
    bool accumulate = false;      // add the sums to what C holds
    const float* bias = nullptr;  // one value a column, added last; null for none
    bool relu = false;            // max(0, .) after the bias
    bool stream = false;          // non-temporal stores; C must be aligned to a vector
    bool resume = false;          // start from C, which holds the sums over the depth so far
    bool partial = false;         // the sums are not final: NaNs need not have the same bits
};

// The micro-kernel: C[MR x NR] (+)= A[MR x depth] . B[depth x NR] in registers. MR and the number
// of vectors in NR are fixed per kernel; `columns` of C exist. Row i of C starts at c + i*c_row.
using GemmKernel = void (*)(const float* a, const GemmRows& rows, const float* b, float* c,
                            size_t c_row, size_t columns, const GemmEpilogue& epilogue);

// The micro-kernels of all register tiles: kernels[v - 1][r - 1] has NR = v vectors, v <= vectors,
// and MR = r rows, r <= rows[v - 1].
struct GemmTiles {
    size_t vectors;
    const size_t* rows;
    const GemmKernel* const* kernels;
};

struct Bf16Kernels;  // bf16_kernels.h

// A step of the optimizers; the update formulas are in optimizer.cpp.
struct SgdCoefficients {
    float rate, momentum, weight_decay;
};
struct AdamCoefficients {
    float beta1, share1;  // weights of the old mean and of the gradient
    float beta2, share2;  // of the old mean square and of the squared gradient
    float rate, root_scale, epsilon, weight_decay;
};

struct LrnCoefficients {
    size_t radius;  // less than the channels
    float bias, alpha, beta;
    bool stream;  // y by non-temporal stores, where a vector fills a line; dx always
};

// One row of pooling windows over the rows of the image that they cover.
struct PoolRow {
    size_t rows;  // at least 1; padding is cut off
    size_t in_width, out_width, channels;
    size_t window_width, stride_height, stride_width, pad_left;
};

// Rows of an image whose channels are spread over lanes (depthwise.cpp), in a ring, as one row of
// windows sees them: row i of the window is row first + i of the ring, which wraps around. Within a
// row the products of a window lie `width` floats apart, lanes of a block of channels each.
struct DepthwiseWindow {
    const float* ring;
    size_t ring_rows, first;
    size_t row_size;    // floats
    size_t rows;        // of the window
    size_t depth;       // products in each of them
    size_t width;       // whole vectors
    size_t pixel_step;  // floats from one output pixel's window to the next
};

// Interpolation points of the largest Winograd tile, infinity included (winograd.cpp).
constexpr size_t kWinogradPoints = 8;

enum class WinogradMatrix {
    kInput,       // points x points: the input of a tile
    kToPoints,    // values -> points: the weights, or a tile of output gradients
    kFromPoints,  // points -> values: a tile of outputs, or the weights' gradient
};

// One matrix applied to both axes of a grid of places, one vector of channels at each. `lanes` of
// the channels from `offset` on are read and written; what lies prefetch_distance floats on is
// prefetched into L1. The temporary holds kWinogradPoints^2 vectors.
struct WinogradStep {
    size_t out, in;  // places along the axis
    void (*columns)(size_t columns, const float* const* in, size_t offset, size_t lanes,
                    size_t prefetch_distance, float* temporary);
    // bias, by channel, may be null. Bias and relu are for kFromPoints only, which always streams
    // where it can; `stream` asks for the same of kToPoints.
    // Returns whether all values were finite; for kFromPoints only, of those before the ReLU.
    bool (*rows)(size_t rows, const float* temporary, float* const* out, size_t offset,
                 size_t lanes, const float* bias, bool relu, bool stream);
};

struct KernelTable {
    const char* isa;
    size_t lanes;  // floats a vector

    // gemm.cpp
    const GemmTiles* gemm;

    // dense.cpp
    void (*add_weighted_rows)(size_t rows, size_t columns, const float* x, const float* w,
                              size_t w_row, float* y);
    // Rows of the weights by images; y[b*y_row + r] is set, or added to.
    void (*dot_rows)(size_t rows, size_t depth, const float* w, size_t w_row, size_t images,
                     const float* x, size_t x_row, bool accumulate, float* y, size_t y_row);

    // copy.cpp
    void (*copy)(size_t n, const float* x, float* y);
    void (*copy_rows)(size_t rows, size_t columns, const float* x, size_t x_row, float* y,
                      size_t y_row);
    void (*transpose)(size_t rows, size_t columns, const float* x, size_t x_row, float* y,
                      size_t y_row);
    void (*stream_fence)();  // orders non-temporal stores before what follows
    void (*sum_rows)(size_t rows, size_t columns, const float* x, size_t x_row, double* y);

    // depthwise.cpp
    void (*spread)(size_t pixels, const float* x, size_t x_pixel, size_t x_channels,
                   const int32_t* order, float* y, size_t y_pixel);
    void (*depthwise)(size_t pixels, const DepthwiseWindow& window, const float* weight,
                      const float* bias, bool relu, float* y, size_t y_pixel, size_t channels);
    void (*depthwise_weight)(size_t pixels, const DepthwiseWindow& window, const float* dy,
                             size_t dy_pixel, size_t channels, float* sums, double* bias);

    const Bf16Kernels* bf16;

    // relu.cpp
    void (*relu)(size_t n, const float* x, float* y);
    void (*relu_backward)(size_t n, const float* dy, const float* y, float* dx);

    // batch_norm.cpp
    void (*batch_norm_sums)(size_t pixels, size_t channels, size_t stride, const float* dy,
                            const float* x, const double* center, double* sum, double* product);
    void (*batch_norm)(size_t pixels, size_t channels, const float* x, const double* mean,
                       const double* scale, const double* shift, bool rectify, float* y);
    void (*batch_norm_backward)(size_t pixels, size_t channels, const float* dy, const float* x,
                                const double* mean, const double* scale, const double* constant,
                                const double* slope, float* dx);

    // dropout.cpp
    void (*dropout)(size_t n, uint64_t block, uint64_t seed, uint64_t offset, uint32_t limit,
                    float scale, const float* x, float* y);

    // l2_loss.cpp
    double (*sum_squares)(size_t n, const float* x);

    // lrn.cpp; pixels >= 1
    size_t (*lrn_workspace)(size_t channels, size_t radius);  // floats, aligned to a cache line
    void (*lrn)(size_t pixels, size_t channels, const LrnCoefficients& coefficients, const float* x,
                float* y, float* workspace);
    void (*lrn_backward)(size_t pixels, size_t channels, const LrnCoefficients& coefficients,
                         const float* dy, const float* x, bool through_relu, float* dx,
                         float* workspace);

    // max_pool2d.cpp
    void (*max_pool2d_row)(const PoolRow& row, const float* x, float* y,
                           float* positions);  // null: not needed
    void (*max_pool2d_backward_row)(const PoolRow& row, const float* dy, const float* x, float* dx,
                                    size_t first_row, size_t end_row);  // of dx: those to add to
    // The same from positions; dx begins with first_row.
    void (*max_pool2d_scatter_row)(const PoolRow& row, const float* dy, const float* positions,
                                   float* dx, size_t first_row, size_t end_row);
    // Streams complete sums to dx; where x is given, 0 where it is not positive.
    void (*max_pool2d_finish)(size_t n, const float* sums, const float* x, float* dx);

    // magnitudes.cpp: of runs, `stride` floats apart
    void (*magnitudes)(size_t runs, size_t run, size_t stride, const float* x, float* y);
    bool (*alike)(size_t n, const float* x, float share);
    bool (*all_finite)(size_t n, const float* x);

    // optimizer.cpp
    void (*sgd_update)(size_t n, const SgdCoefficients& coefficients, float* parameter,
                       const float* gradient, float* velocity);
    void (*adam_update)(size_t n, const AdamCoefficients& coefficients, float* parameter,
                        const float* gradient, float* first_moment, float* second_moment);

    // peak.cpp
    size_t (*fma_loop)(size_t steps, float* sink);
    void (*read_all)(size_t n, const float* x, float* sink);
    void (*stream_all)(size_t n, const float* x, float* y);

    // scale.cpp
    void (*scale)(size_t n, float factor, const float* x, float* y);

    // softmax_cross_entropy.cpp
    float (*largest)(size_t n, const float* z);
    double (*sum_exp)(size_t n, double shift, const float* z, float* exponentials);

    // winograd.cpp: 2 <= points <= kWinogradPoints, values <= 6
    WinogradStep (*winograd_step)(WinogradMatrix matrix, size_t points, size_t values);
};

namespace avx512 {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace portable {
extern const KernelTable table;
}

}  // namespace alexnet

#endif  // ALEXNET_CPU_MICROKERNELS_KERNELS_H_
