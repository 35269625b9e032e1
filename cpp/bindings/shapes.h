// Shapes that alexnet/contract/calls.py has checked, as the structs of the kernels.

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

// alexnet.shapes.Conv2dShape
inline Conv2dShape conv2d_shape(const py::object& s) {
    return {extent(s, "batch"),         extent(s, "in_height"),     extent(s, "in_width"),
            extent(s, "in_channels"),   extent(s, "out_height"),    extent(s, "out_width"),
            extent(s, "out_channels"),  extent(s, "kernel_height"), extent(s, "kernel_width"),
            extent(s, "stride_height"), extent(s, "stride_width"),  extent(s, "pad_top"),
            extent(s, "pad_left"),      extent(s, "groups")};
}

// alexnet.shapes.DenseShape
inline DenseShape dense_shape(const py::object& s) {
    return {extent(s, "batch"), extent(s, "in_features"), extent(s, "out_features")};
}

// alexnet.shapes.Pool2dShape
inline Pool2dShape pool2d_shape(const py::object& s) {
    return {extent(s, "batch"),         extent(s, "in_height"),    extent(s, "in_width"),
            extent(s, "channels"),      extent(s, "out_height"),   extent(s, "out_width"),
            extent(s, "window_height"), extent(s, "window_width"), extent(s, "stride_height"),
            extent(s, "stride_width"),  extent(s, "pad_top"),      extent(s, "pad_left")};
}

// alexnet.shapes.ChannelsShape
inline BatchNormShape batch_norm_shape(const py::object& s) {
    return {extent(s, "pixels"), extent(s, "channels")};
}

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_SHAPES_H_
