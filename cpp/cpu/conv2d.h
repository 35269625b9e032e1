// The algorithms behind alexnet/conv2d.h, one file each; conv2d.cpp chooses among them.
// The shapes passed here have at least one image.

#ifndef ALEXNET_CPU_CONV2D_H_
#define ALEXNET_CPU_CONV2D_H_

#include "alexnet/conv2d.h"

namespace alexnet::cpu {

namespace naive {
void forward(const Conv2dShape& shape, const float* x, const float* weight, const float* bias,
             bool relu, float* y);
void backward_input(const Conv2dShape& shape, const float* dy, const float* weight, float* dx);
void backward_weight(const Conv2dShape& shape, const float* dy, const float* x, float* dweight);
}  // namespace naive

namespace im2col {
void forward(const Conv2dShape& shape, const float* x, const float* weight, const float* bias,
             bool relu, float* y);
void backward_input(const Conv2dShape& shape, const float* dy, const float* weight, float* dx);
void backward_weight(const Conv2dShape& shape, const float* dy, const float* x, float* dweight);
}  // namespace im2col

namespace direct {
Size prepared_weight_size(const Conv2dShape& shape);
void prepare_weight(const Conv2dShape& shape, const float* weight, float* prepared);
void forward(const Conv2dShape& shape, const float* x, const float* weight, const float* bias,
             bool relu, float* y, const float* prepared = nullptr);
void backward_input(const Conv2dShape& shape, const float* dy, const float* weight, float* dx);
// dbias as well: dy is read once.
void backward_weight(const Conv2dShape& shape, const float* dy, const float* x, float* dweight,
                     float* dbias);
}  // namespace direct

// What direct leaves to vectors over channels across groups (depthwise_rows.h).
namespace depthwise {
void backward_weight(const Conv2dShape& shape, const float* dy, const float* x, float* dweight,
                     float* dbias);
}  // namespace depthwise

namespace winograd {
// Null where the algorithm can serve the shape, else why not.
const char* unsupported(const Conv2dShape& shape, ConvDirection direction);
// Whether it is expected to be faster than direct, by a count of operations.
bool is_faster(const Conv2dShape& shape, ConvDirection direction);
Size prepared_weight_size(const Conv2dShape& shape);
void prepare_weight(const Conv2dShape& shape, const float* weight, float* prepared);
void forward(const Conv2dShape& shape, const float* x, const float* weight, const float* bias,
             bool relu, float* y, const float* prepared = nullptr);
void backward_input(const Conv2dShape& shape, const float* dy, const float* weight, float* dx);
// dbias as well: its sums are among those of the tiles.
void backward_weight(const Conv2dShape& shape, const float* dy, const float* x, float* dweight,
                     float* dbias);
}  // namespace winograd

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_CONV2D_H_
