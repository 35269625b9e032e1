// alexnet._cpu: the drivers of cpp/cpu as Python functions on NumPy arrays. Each parses and checks
// under the GIL, takes raw pointers, and releases the GIL around the driver only.

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/relu.h"
#include "arrays.h"
#include "dispatch.h"
#include "parallel.h"

#include <pybind11/stl.h>

namespace alexnet {
namespace {

using cpu::kernels;

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "g++ " __VERSION__;
#else
    return "unknown";
#endif
}

void define_runtime(py::module_& m) {
    m.def("build_info", [] {
        py::dict info;
        info["compiler"] = compiler();
        info["openmp"] = cpu::has_openmp();
        info["sanitizers"] = static_cast<bool>(ALEXNET_SANITIZED);
        return info;
    });
    m.def("cpu_isa", [] { return std::string(kernels().isa); });
    m.def("available_isas", &cpu::available_isas);
    m.def("set_cpu_isa", &cpu::set_isa);
    m.def("vector_lanes", [] { return kernels().lanes; });
    m.def("get_num_threads", &cpu::num_threads);
    m.def("set_num_threads", &cpu::set_num_threads);
}

size_t extent(const py::object& shape, const char* name) {
    return shape.attr(name).cast<size_t>();
}

// alexnet.shapes.Conv2dShape
Conv2dShape conv2d_shape(const py::object& s) {
    return {extent(s, "batch"),         extent(s, "in_height"),    extent(s, "in_width"),
            extent(s, "in_channels"),   extent(s, "out_height"),   extent(s, "out_width"),
            extent(s, "out_channels"),  extent(s, "kernel_height"), extent(s, "kernel_width"),
            extent(s, "stride_height"), extent(s, "stride_width"), extent(s, "pad_top"),
            extent(s, "pad_left"),      extent(s, "groups")};
}

cpu::ConvAlgorithm conv2d_algorithm(const std::string& name) {
    if (name == "naive") return cpu::ConvAlgorithm::kNaive;
    if (name == "im2col") return cpu::ConvAlgorithm::kIm2col;
    if (name == "direct" || name == "auto") return cpu::ConvAlgorithm::kDirect;
    throw py::value_error("algorithm: '" + name + "' is unknown");
}

void define_conv2d(py::module_& m) {
    m.def("conv2d", [](const py::object& shape, const py::array& x, const py::array& weight,
                       const py::object& bias, bool relu, const std::string& algorithm,
                       py::array y) {
        const Conv2dShape s = conv2d_shape(shape);
        const cpu::ConvAlgorithm a = conv2d_algorithm(algorithm);
        const float* px = input(x, "x", s.input_size());
        const float* pw = input(weight, "weight", s.weight_size());
        const float* pb = optional_input(bias, "bias", s.out_channels);
        float* out = output(y, "y", s.output_size());
        py::gil_scoped_release release;
        cpu::conv2d(s, px, pw, pb, relu, a, out);
    });
    m.def("conv2d_backward_input", [](const py::object& shape, const py::array& dy,
                                      const py::array& weight, const std::string& algorithm,
                                      py::array dx) {
        const Conv2dShape s = conv2d_shape(shape);
        const cpu::ConvAlgorithm a = conv2d_algorithm(algorithm);
        const float* pdy = input(dy, "dy", s.output_size());
        const float* pw = input(weight, "weight", s.weight_size());
        float* out = output(dx, "dx", s.input_size());
        py::gil_scoped_release release;
        cpu::conv2d_backward_input(s, pdy, pw, a, out);
    });
    m.def("conv2d_backward_weight", [](const py::object& shape, const py::array& dy,
                                       const py::array& x, const std::string& algorithm,
                                       py::array dweight, py::array dbias) {
        const Conv2dShape s = conv2d_shape(shape);
        const cpu::ConvAlgorithm a = conv2d_algorithm(algorithm);
        const float* pdy = input(dy, "dy", s.output_size());
        const float* px = input(x, "x", s.input_size());
        float* pdw = output(dweight, "dweight", s.weight_size());
        float* pdb = output(dbias, "dbias", s.out_channels);
        py::gil_scoped_release release;
        cpu::conv2d_backward_weight(s, pdy, px, a, pdw, pdb);
    });
}

// alexnet.shapes.DenseShape
DenseShape dense_shape(const py::object& s) {
    return {extent(s, "batch"), extent(s, "in_features"), extent(s, "out_features")};
}

void define_dense(py::module_& m) {
    m.def("dense", [](const py::object& shape, const py::array& x, const py::array& weight,
                      const py::object& bias, bool relu, py::array y) {
        const DenseShape s = dense_shape(shape);
        const float* px = input(x, "x", s.batch * s.in_features);
        const float* pw = input(weight, "weight", s.in_features * s.out_features);
        const float* pb = optional_input(bias, "bias", s.out_features);
        float* out = output(y, "y", s.batch * s.out_features);
        py::gil_scoped_release release;
        cpu::dense(s, px, pw, pb, relu, out);
    });
    m.def("dense_backward_input", [](const py::object& shape, const py::array& dy,
                                     const py::array& weight, py::array dx) {
        const DenseShape s = dense_shape(shape);
        const float* pdy = input(dy, "dy", s.batch * s.out_features);
        const float* pw = input(weight, "weight", s.in_features * s.out_features);
        float* out = output(dx, "dx", s.batch * s.in_features);
        py::gil_scoped_release release;
        cpu::dense_backward_input(s, pdy, pw, out);
    });
    m.def("dense_backward_weight", [](const py::object& shape, const py::array& dy,
                                      const py::array& x, py::array dweight, py::array dbias) {
        const DenseShape s = dense_shape(shape);
        const float* pdy = input(dy, "dy", s.batch * s.out_features);
        const float* px = input(x, "x", s.batch * s.in_features);
        float* pdw = output(dweight, "dweight", s.in_features * s.out_features);
        float* pdb = output(dbias, "dbias", s.out_features);
        py::gil_scoped_release release;
        cpu::dense_backward_weight(s, pdy, px, pdw, pdb);
    });
}

void define_relu(py::module_& m) {
    m.def("relu", [](const py::array& x, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* py_ = output(y, "y", n);
        py::gil_scoped_release release;
        cpu::relu(n, px, py_);
    });
    m.def("relu_backward", [](const py::array& dy, const py::array& y, py::array dx) {
        const size_t n = static_cast<size_t>(dy.size());
        const float* pdy = input(dy, "dy", n);
        const float* py_ = input(y, "y", n);
        float* pdx = output(dx, "dx", n);
        py::gil_scoped_release release;
        cpu::relu_backward(n, pdy, py_, pdx);
    });
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "CPU kernels of alexnet; use alexnet.cpu, which checks its arguments.";
    alexnet::cpu::set_isa_from_environment();
    alexnet::cpu::set_num_threads_from_environment();
    alexnet::define_runtime(m);
    alexnet::define_conv2d(m);
    alexnet::define_dense(m);
    alexnet::define_relu(m);
}
