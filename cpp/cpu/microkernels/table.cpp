// The micro-kernels of one instruction set, gathered into its table (kernels.h says what each is).

#include "kernels.h"
#include "simd.h"

namespace alexnet::ALEXNET_ISA {

// Defined in the file of the same name in this folder.
extern const GemmTiles gemm_tiles;
void add_weighted_rows(size_t rows, size_t columns, const float* x, const float* w, size_t w_row,
                       float* y);
void dot_rows(size_t rows, size_t depth, const float* w, size_t w_row, size_t images,
              const float* x, size_t x_row, bool accumulate, float* y, size_t y_row);
void copy(size_t n, const float* x, float* y);
void copy_rows(size_t rows, size_t columns, const float* x, size_t x_row, float* y, size_t y_row);
void transpose(size_t rows, size_t columns, const float* x, size_t x_row, float* y, size_t y_row);
void stream_fence();
void sum_rows(size_t rows, size_t columns, const float* x, size_t x_row, double* y);
void spread(size_t pixels, const float* x, size_t x_pixel, size_t x_channels, const int32_t* order,
            float* y, size_t y_pixel);
void depthwise(size_t pixels, const DepthwiseWindow& window, const float* weight, const float* bias,
               bool relu, float* y, size_t y_pixel, size_t channels);
void depthwise_weight(size_t pixels, const DepthwiseWindow& window, const float* dy,
                      size_t dy_pixel, size_t channels, float* sums, double* bias);
extern const Bf16Kernels bf16_kernels;
void relu(size_t n, const float* x, float* y);
void relu_backward(size_t n, const float* dy, const float* y, float* dx);
void batch_norm_sums(size_t pixels, size_t channels, size_t stride, const float* dy, const float* x,
                     const double* center, double* sum, double* product);
void batch_norm(size_t pixels, size_t channels, const float* x, const double* mean,
                const double* scale, const double* shift, bool rectify, float* y);
void batch_norm_backward(size_t pixels, size_t channels, const float* dy, const float* x,
                         const double* mean, const double* scale, const double* constant,
                         const double* slope, float* dx);
void dropout(size_t n, uint64_t block, uint64_t seed, uint64_t offset, uint32_t limit, float scale,
             const float* x, float* y);
double sum_squares(size_t n, const float* x);
size_t lrn_workspace(size_t channels, size_t radius);
void lrn(size_t pixels, size_t channels, const LrnCoefficients& coefficients, const float* x,
         float* y, float* workspace);
void lrn_backward(size_t pixels, size_t channels, const LrnCoefficients& coefficients,
                  const float* dy, const float* x, bool through_relu, float* dx, float* workspace);
void max_pool2d_row(const PoolRow& row, const float* x, float* y, float* positions);
void max_pool2d_backward_row(const PoolRow& row, const float* dy, const float* x, float* dx,
                             size_t first_row, size_t end_row);
void max_pool2d_scatter_row(const PoolRow& row, const float* dy, const float* positions, float* dx,
                            size_t first_row, size_t end_row);
void max_pool2d_finish(size_t n, const float* sums, const float* x, float* dx);
void magnitudes(size_t runs, size_t run, size_t stride, const float* x, float* y);
bool alike(size_t n, const float* x, float share);
bool all_finite(size_t n, const float* x);
void sgd_update(size_t n, const SgdCoefficients& coefficients, float* parameter,
                const float* gradient, float* velocity);
void adam_update(size_t n, const AdamCoefficients& coefficients, float* parameter,
                 const float* gradient, float* first_moment, float* second_moment);
size_t fma_loop(size_t steps, float* sink);
void read_all(size_t n, const float* x, float* sink);
void stream_all(size_t n, const float* x, float* y);
void scale(size_t n, float factor, const float* x, float* y);
float largest(size_t n, const float* z);
double sum_exp(size_t n, double shift, const float* z, float* exponentials);
WinogradStep winograd_step(WinogradMatrix matrix, size_t points, size_t values);

#define ALEXNET_QUOTE_(x) #x
#define ALEXNET_QUOTE(x) ALEXNET_QUOTE_(x)

extern const KernelTable table;
const KernelTable table = {
    .isa = ALEXNET_QUOTE(ALEXNET_ISA),
    .lanes = kLanes,
    .gemm = &gemm_tiles,
    .add_weighted_rows = add_weighted_rows,
    .dot_rows = dot_rows,
    .copy = copy,
    .copy_rows = copy_rows,
    .transpose = transpose,
    .stream_fence = stream_fence,
    .sum_rows = sum_rows,
    .spread = spread,
    .depthwise = depthwise,
    .depthwise_weight = depthwise_weight,
    .bf16 = &bf16_kernels,
    .relu = relu,
    .relu_backward = relu_backward,
    .batch_norm_sums = batch_norm_sums,
    .batch_norm = batch_norm,
    .batch_norm_backward = batch_norm_backward,
    .dropout = dropout,
    .sum_squares = sum_squares,
    .lrn_workspace = lrn_workspace,
    .lrn = lrn,
    .lrn_backward = lrn_backward,
    .max_pool2d_row = max_pool2d_row,
    .max_pool2d_backward_row = max_pool2d_backward_row,
    .max_pool2d_scatter_row = max_pool2d_scatter_row,
    .max_pool2d_finish = max_pool2d_finish,
    .magnitudes = magnitudes,
    .alike = alike,
    .all_finite = all_finite,
    .sgd_update = sgd_update,
    .adam_update = adam_update,
    .fma_loop = fma_loop,
    .read_all = read_all,
    .stream_all = stream_all,
    .scale = scale,
    .largest = largest,
    .sum_exp = sum_exp,
    .winograd_step = winograd_step,
};

}  // namespace alexnet::ALEXNET_ISA
