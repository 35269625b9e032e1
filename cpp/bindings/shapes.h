// Shapes that python/alexnet/contract/calls.py has checked, as the structs of the kernels.

#ifndef ALEXNET_BINDINGS_SHAPES_H_
#define ALEXNET_BINDINGS_SHAPES_H_

#include <pybind11/pybind11.h>

#include "alexnet/batch_norm.h"
#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/max_pool2d.h"

namespace alexnet {

namespace py = pybind11;

inline size_t extent(const py::object& shape, const char* name) {
    return shape.attr(name).cast<size_t>();
}

// alexnet.contract.shapes.Conv2dShape
inline Conv2dShape conv2d_shape(const py::object& s) {
    return {.batch = extent(s, "batch"),
            .in_height = extent(s, "in_height"),
            .in_width = extent(s, "in_width"),
            .in_channels = extent(s, "in_channels"),
            .out_height = extent(s, "out_height"),
            .out_width = extent(s, "out_width"),
            .out_channels = extent(s, "out_channels"),
            .kernel_height = extent(s, "kernel_height"),
            .kernel_width = extent(s, "kernel_width"),
            .stride_height = extent(s, "stride_height"),
            .stride_width = extent(s, "stride_width"),
            .pad_top = extent(s, "pad_top"),
            .pad_left = extent(s, "pad_left"),
            .groups = extent(s, "groups")};
}

// alexnet.contract.shapes.DenseShape
inline DenseShape dense_shape(const py::object& s) {
    return {.batch = extent(s, "batch"),
            .in_features = extent(s, "in_features"),
            .out_features = extent(s, "out_features")};
}

// alexnet.contract.shapes.Pool2dShape
inline Pool2dShape pool2d_shape(const py::object& s) {
    return {.batch = extent(s, "batch"),
            .in_height = extent(s, "in_height"),
            .in_width = extent(s, "in_width"),
            .channels = extent(s, "channels"),
            .out_height = extent(s, "out_height"),
            .out_width = extent(s, "out_width"),
            .window_height = extent(s, "window_height"),
            .window_width = extent(s, "window_width"),
            .stride_height = extent(s, "stride_height"),
            .stride_width = extent(s, "stride_width"),
            .pad_top = extent(s, "pad_top"),
            .pad_left = extent(s, "pad_left")};
}

// alexnet.contract.shapes.ChannelsShape
inline BatchNormShape batch_norm_shape(const py::object& s) {
    return {.pixels = extent(s, "pixels"), .channels = extent(s, "channels")};
}

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_SHAPES_H_
