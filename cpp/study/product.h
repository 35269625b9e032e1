// What the last rung of each ladder includes: the product's shapes, from those of the study.

#ifndef ALEXNET_STUDY_PRODUCT_H_
#define ALEXNET_STUDY_PRODUCT_H_

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/lrn.h"
#include "alexnet/lrn_max_pool2d.h"
#include "alexnet/max_pool2d.h"
#include "shapes.h"

#define ALEXNET_STUDY_JOIN(rung) alexnet_study_##rung##_any
#define ALEXNET_STUDY_NAME(rung) ALEXNET_STUDY_JOIN(rung)
#define RUNG extern "C" void ALEXNET_STUDY_NAME(ALEXNET_RUNG)

namespace alexnet::study {

inline Conv2dShape product_shape(const Conv2d& s) {
    return {.batch = s.batch,
            .in_height = s.in_height,
            .in_width = s.in_width,
            .in_channels = s.in_channels,
            .out_height = s.out_height,
            .out_width = s.out_width,
            .out_channels = s.out_channels,
            .kernel_height = s.kernel_height,
            .kernel_width = s.kernel_width,
            .stride_height = s.stride,
            .stride_width = s.stride,
            .pad_top = s.pad_top,
            .pad_left = s.pad_left,
            .groups = 1};
}

inline DenseShape product_shape(const Dense& s) {
    return {.batch = s.batch, .in_features = s.in_features, .out_features = s.out_features};
}

inline LrnParameters product_shape(const Lrn& s) {
    return {.depth_radius = s.radius, .bias = s.bias, .alpha = s.alpha, .beta = s.beta};
}

inline Pool2dShape product_shape(const MaxPool2d& s) {
    return {.batch = s.batch,
            .in_height = s.in_height,
            .in_width = s.in_width,
            .channels = s.channels,
            .out_height = s.out_height,
            .out_width = s.out_width,
            .window_height = s.window,
            .window_width = s.window,
            .stride_height = s.stride,
            .stride_width = s.stride,
            .pad_top = 0,
            .pad_left = 0};
}

}  // namespace alexnet::study

using namespace alexnet::study;

#endif  // ALEXNET_STUDY_PRODUCT_H_
