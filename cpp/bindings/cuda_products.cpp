// Convolutions and dense layers of alexnet._cuda.

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "cuda.h"

namespace alexnet {
namespace {

Precision precision_of(bool tf32) { return tf32 ? Precision::kTf32 : Precision::kFloat32; }

ConvDirection direction_of(const std::string& name) {
    if (name == "forward") return ConvDirection::kForward;
    return name == "backward_input" ? ConvDirection::kBackwardInput
                                    : ConvDirection::kBackwardWeight;
}

}  // namespace

void define_conv2d(py::module_& m) {
    m.def("conv2d_workspace",
          [](const py::object& shape) { return cuda::conv2d_workspace(conv2d_shape(shape)); });
    m.def("conv2d", [](const py::object& shape, const Array& x, const Array& weight,
                       const Array& bias, bool relu, bool tf32, const Array& y,
                       const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::conv2d(s, device_array<T>(x, "x", s.input_size()),
                         device_array<T>(weight, "weight", s.weight_size()),
                         optional_device_array(bias, "bias", s.out_channels), relu,
                         precision_of(tf32), device_array<T>(y, "y", s.output_size()),
                         workspace_of(workspace, cuda::conv2d_workspace(s)), stream_of(stream));
        });
    });
    m.def("conv2d_backward_input_workspace", [](const py::object& shape) {
        return cuda::conv2d_backward_input_workspace(conv2d_shape(shape));
    });
    m.def("conv2d_backward_input", [](const py::object& shape, const Array& dy, const Array& weight,
                                      const Array& relu_output, bool tf32, const Array& dx,
                                      const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        with_stored_type(dy, "dy", [&](auto type) {
            using T = decltype(type);
            cuda::conv2d_backward_input<T>(
                s, device_array<T>(dy, "dy", s.output_size()),
                device_array<T>(weight, "weight", s.weight_size()),
                optional_device_array<T>(relu_output, "relu_output", s.input_size()),
                precision_of(tf32), device_array<T>(dx, "dx", s.input_size()),
                workspace_of(workspace, cuda::conv2d_backward_input_workspace(s)),
                stream_of(stream));
        });
    });
    m.def("conv2d_backward_weight_workspace", [](const py::object& shape) {
        return cuda::conv2d_backward_weight_workspace(conv2d_shape(shape));
    });
    m.def("conv2d_backward_weight",
          [](const py::object& shape, const Array& dy, const Array& x, bool tf32,
             const Array& dweight, const Array& dbias, const Array& workspace, uintptr_t stream) {
              const Conv2dShape s = conv2d_shape(shape);
              with_stored_type(dy, "dy", [&](auto type) {
                  using T = decltype(type);
                  cuda::conv2d_backward_weight(
                      s, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(x, "x", s.input_size()), precision_of(tf32),
                      device_array(dweight, "dweight", s.weight_size()),
                      device_array(dbias, "dbias", s.out_channels),
                      workspace_of(workspace, cuda::conv2d_backward_weight_workspace(s)),
                      stream_of(stream));
              });
          });
}

void define_winograd(py::module_& m) {
    m.def("winograd_unsupported", [](const py::object& shape, const std::string& direction) {
        return cuda::winograd_unsupported(conv2d_shape(shape), direction_of(direction));
    });
    m.def("winograd_is_faster", [](const py::object& shape, const std::string& direction) {
        return cuda::winograd_is_faster(conv2d_shape(shape), direction_of(direction));
    });
    m.def("conv2d_winograd_workspace", [](const py::object& shape, size_t most_floats) {
        return cuda::conv2d_winograd_workspace(conv2d_shape(shape), most_floats);
    });
    m.def("conv2d_winograd", [](const py::object& shape, size_t most_floats, const Array& x,
                                const Array& weight, const Array& bias, bool relu, const Array& y,
                                const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        cuda::conv2d_winograd(
            s, most_floats, device_array(x, "x", s.input_size()),
            device_array(weight, "weight", s.weight_size()),
            optional_device_array(bias, "bias", s.out_channels), relu,
            device_array(y, "y", s.output_size()),
            workspace_of(workspace, cuda::conv2d_winograd_workspace(s, most_floats)),
            stream_of(stream));
    });
    m.def("conv2d_winograd_backward_input_workspace", [](const py::object& shape,
                                                         size_t most_floats) {
        return cuda::conv2d_winograd_backward_input_workspace(conv2d_shape(shape), most_floats);
    });
    m.def("conv2d_winograd_backward_input", [](const py::object& shape, size_t most_floats,
                                               const Array& dy, const Array& weight,
                                               const Array& relu_output, const Array& dx,
                                               const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        cuda::conv2d_winograd_backward_input(
            s, most_floats, device_array(dy, "dy", s.output_size()),
            device_array(weight, "weight", s.weight_size()),
            optional_device_array(relu_output, "relu_output", s.input_size()),
            device_array(dx, "dx", s.input_size()),
            workspace_of(workspace, cuda::conv2d_winograd_backward_input_workspace(s, most_floats)),
            stream_of(stream));
    });
    m.def("conv2d_winograd_backward_weight_workspace", [](const py::object& shape,
                                                          size_t most_floats) {
        return cuda::conv2d_winograd_backward_weight_workspace(conv2d_shape(shape), most_floats);
    });
    m.def("conv2d_winograd_backward_weight",
          [](const py::object& shape, size_t most_floats, const Array& dy, const Array& x,
             const Array& dweight, const Array& dbias, const Array& workspace, uintptr_t stream) {
              const Conv2dShape s = conv2d_shape(shape);
              cuda::conv2d_winograd_backward_weight(
                  s, most_floats, device_array(dy, "dy", s.output_size()),
                  device_array(x, "x", s.input_size()),
                  device_array(dweight, "dweight", s.weight_size()),
                  device_array(dbias, "dbias", s.out_channels),
                  workspace_of(workspace,
                               cuda::conv2d_winograd_backward_weight_workspace(s, most_floats)),
                  stream_of(stream));
          });
}

void define_dense(py::module_& m) {
    m.def("dense_workspace",
          [](const py::object& shape) { return cuda::dense_workspace(dense_shape(shape)); });
    m.def("dense",
          [](const py::object& shape, const Array& x, const Array& weight, const Array& bias,
             bool relu, bool tf32, const Array& y, const Array& workspace, uintptr_t stream) {
              const DenseShape s = dense_shape(shape);
              with_stored_type(x, "x", [&](auto type) {
                  using T = decltype(type);
                  cuda::dense(s, device_array<T>(x, "x", s.input_size()),
                              device_array<T>(weight, "weight", s.weight_size()),
                              optional_device_array(bias, "bias", s.out_features), relu,
                              precision_of(tf32), device_array<T>(y, "y", s.output_size()),
                              workspace_of(workspace, cuda::dense_workspace(s)), stream_of(stream));
              });
          });
    m.def("dense_backward_input_workspace", [](const py::object& shape) {
        return cuda::dense_backward_input_workspace(dense_shape(shape));
    });
    m.def("dense_backward_input", [](const py::object& shape, const Array& dy, const Array& weight,
                                     const Array& relu_output, bool tf32, const Array& dx,
                                     const Array& workspace, uintptr_t stream) {
        const DenseShape s = dense_shape(shape);
        with_stored_type(dy, "dy", [&](auto type) {
            using T = decltype(type);
            cuda::dense_backward_input<T>(
                s, device_array<T>(dy, "dy", s.output_size()),
                device_array<T>(weight, "weight", s.weight_size()),
                optional_device_array<T>(relu_output, "relu_output", s.input_size()),
                precision_of(tf32), device_array<T>(dx, "dx", s.input_size()),
                workspace_of(workspace, cuda::dense_backward_input_workspace(s)),
                stream_of(stream));
        });
    });
    m.def("dense_backward_weight_workspace", [](const py::object& shape) {
        return cuda::dense_backward_weight_workspace(dense_shape(shape));
    });
    m.def("dense_backward_weight",
          [](const py::object& shape, const Array& dy, const Array& x, bool tf32,
             const Array& dweight, const Array& dbias, const Array& workspace, uintptr_t stream) {
              const DenseShape s = dense_shape(shape);
              with_stored_type(dy, "dy", [&](auto type) {
                  using T = decltype(type);
                  cuda::dense_backward_weight(
                      s, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(x, "x", s.input_size()), precision_of(tf32),
                      device_array(dweight, "dweight", s.weight_size()),
                      device_array(dbias, "dbias", s.out_features),
                      workspace_of(workspace, cuda::dense_backward_weight_workspace(s)),
                      stream_of(stream));
              });
          });
}

}  // namespace alexnet
