// Shapes as the rungs get them: plain numbers, the same as alexnet.study.structures lays them out.

#ifndef ALEXNET_STUDY_SHAPES_H_
#define ALEXNET_STUDY_SHAPES_H_

#include <cstddef>

namespace alexnet::study {

// y[n,oh,ow,o] = sum over kh, kw, c of
//                x[n, oh*stride - pad_top + kh, ow*stride - pad_left + kw, c] * weight[kh,kw,c,o]
struct Conv2d {
    size_t batch, in_height, in_width, in_channels;
    size_t out_height, out_width, out_channels;
    size_t kernel_height, kernel_width, stride, pad_top, pad_left;
};

// y[b,o] = sum over i of x[b,i] * weight[i,o]
struct Dense {
    size_t batch, in_features, out_features;
};

// s[p,c] = bias + alpha * sum of x[p,c']^2 over |c' - c| <= radius,   y = x * s^-beta
struct Lrn {
    size_t pixels, channels, radius;
    float bias, alpha, beta;
};

// y[n,oh,ow,c] = max of x[n,h,w,c] over the window of (oh,ow), which lies inside the image
struct MaxPool2d {
    size_t batch, in_height, in_width, channels, out_height, out_width, window, stride;
};

// Both, one after the other: y = max_pool2d(lrn(x)). The gradient goes on through a ReLU, of which x
// is the output: dx is 0 where x is not positive.
struct LrnMaxPool2d {
    Lrn lrn;
    MaxPool2d pool;
};

// How many threads a rung should use: `#pragma omp parallel num_threads(threads())`.
int threads();

// Memory of that many floats, aligned to a cache line, the same at every call until a larger one is
// asked for; its contents are unspecified. Ask outside of a parallel region.
float* scratch(size_t floats);

}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_SHAPES_H_
