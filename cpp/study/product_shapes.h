// The product's shapes, from those of the study: include it behind shapes.h or study.cuh.

#ifndef ALEXNET_STUDY_PRODUCT_SHAPES_H_
#define ALEXNET_STUDY_PRODUCT_SHAPES_H_

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/lrn.h"
#include "alexnet/lrn_max_pool2d.h"
#include "alexnet/max_pool2d.h"

namespace alexnet::study {

inline Conv2dShape product_shape(const Conv2d& s) {
    return {.batch = size_t(s.batch),
            .in_height = size_t(s.in_height),
            .in_width = size_t(s.in_width),
            .in_channels = size_t(s.in_channels),
            .out_height = size_t(s.out_height),
            .out_width = size_t(s.out_width),
            .out_channels = size_t(s.out_channels),
            .kernel_height = size_t(s.kernel_height),
            .kernel_width = size_t(s.kernel_width),
            .stride_height = size_t(s.stride),
            .stride_width = size_t(s.stride),
            .pad_top = size_t(s.pad_top),
            .pad_left = size_t(s.pad_left),
            .groups = 1};
}

inline DenseShape product_shape(const Dense& s) {
    return {.batch = size_t(s.batch),
            .in_features = size_t(s.in_features),
            .out_features = size_t(s.out_features)};
}

inline LrnParameters product_shape(const Lrn& s) {
    return {.depth_radius = size_t(s.radius), .bias = s.bias, .alpha = s.alpha, .beta = s.beta};
}

inline Pool2dShape product_shape(const MaxPool2d& s) {
    return {.batch = size_t(s.batch),
            .in_height = size_t(s.in_height),
            .in_width = size_t(s.in_width),
            .channels = size_t(s.channels),
            .out_height = size_t(s.out_height),
            .out_width = size_t(s.out_width),
            .window_height = size_t(s.window),
            .window_width = size_t(s.window),
            .stride_height = size_t(s.stride),
            .stride_width = size_t(s.stride),
            .pad_top = 0,
            .pad_left = 0};
}

}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_PRODUCT_SHAPES_H_
