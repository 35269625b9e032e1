// alexnet._cpu: convolutions and dense layers.

#include <pybind11/stl.h>

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "cpu.h"
#include "dispatch.h"

namespace alexnet {

namespace {

constexpr std::pair<const char*, cpu::ConvAlgorithm> kConvAlgorithms[] = {
    {"naive", cpu::ConvAlgorithm::kNaive},
    {"im2col", cpu::ConvAlgorithm::kIm2col},
    {"direct", cpu::ConvAlgorithm::kDirect},
    {"winograd", cpu::ConvAlgorithm::kWinograd},
};

// "auto" or a name of kConvAlgorithms; one that can't serve the shape is an error.
cpu::ConvAlgorithm conv2d_algorithm(const std::string& name, const Conv2dShape& shape,
                                    cpu::ConvDirection direction, const char* operator_name) {
    if (name == "auto") return cpu::choose_algorithm(shape, direction);
    for (const auto& [known, algorithm] : kConvAlgorithms) {
        if (name != known) continue;
        if (const char* reason = cpu::unsupported(shape, direction, algorithm)) {
            throw py::value_error(std::string(operator_name) + ": algorithm '" + name +
                                  "' cannot serve this convolution: " + reason +
                                  "; use 'auto' or 'direct'");
        }
        return algorithm;
    }
    throw py::value_error(std::string(operator_name) + ": algorithm '" + name + "' is unknown");
}

}  // namespace

void define_conv2d(py::module_& m) {
    m.def("conv2d_choice", [](const py::object& shape, const std::string& direction) {
        const Conv2dShape s = conv2d_shape(shape);
        const auto d = direction == "forward"          ? cpu::ConvDirection::kForward
                       : direction == "backward_input" ? cpu::ConvDirection::kBackwardInput
                                                       : cpu::ConvDirection::kBackwardWeight;
        const cpu::ConvAlgorithm choice = cpu::choose_algorithm(s, d);
        for (const auto& [name, algorithm] : kConvAlgorithms) {
            if (algorithm == choice) return std::string(name);
        }
        throw py::value_error("no algorithm");
    });
    m.def("conv2d",
          [](const py::object& shape, const py::array& x, const py::array& weight,
             const py::object& bias, bool relu, const std::string& algorithm, py::array y) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a =
                  conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d");
              const float* px = input(x, "x", s.input_size());
              const float* pw = input(weight, "weight", s.weight_size());
              const float* pb = optional_input(bias, "bias", s.out_channels);
              float* out = output(y, "y", s.output_size());
              const DriverCall call;
              cpu::conv2d(s, px, pw, pb, relu, a, out);
          });
    // Weights prepared for forward, by algorithm and instruction set; see alexnet/conv2d.h.
    m.def("prepared_weight_size", [](const py::object& shape, const std::string& algorithm) {
        const Conv2dShape s = conv2d_shape(shape);
        return static_cast<size_t>(cpu::prepared_weight_size(
            s, conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d")));
    });
    m.def("prepare_weight", [](const py::object& shape, const py::array& weight,
                               const std::string& algorithm, py::array prepared) {
        const Conv2dShape s = conv2d_shape(shape);
        const cpu::ConvAlgorithm a =
            conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d");
        const float* pw = input(weight, "weight", s.weight_size());
        float* out = output(prepared, "prepared", cpu::prepared_weight_size(s, a));
        const DriverCall call;
        cpu::prepare_weight(s, pw, a, out);
    });
    // `prepared` were made with the instruction set `isa`; in another one they are not used.
    m.def("conv2d_prepared",
          [](const py::object& shape, const py::array& x, const py::array& weight,
             const py::object& bias, bool relu, const std::string& algorithm, py::array y,
             const py::array& prepared, const std::string& isa) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a =
                  conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d");
              const float* px = input(x, "x", s.input_size());
              const float* pw = input(weight, "weight", s.weight_size());
              const float* pb = optional_input(bias, "bias", s.out_channels);
              float* out = output(y, "y", s.output_size());
              const float* ready = nullptr;
              if (isa == cpu::kernels().isa) {
                  ready = input(prepared, "prepared", cpu::prepared_weight_size(s, a));
              }
              const DriverCall call;
              cpu::conv2d(s, px, pw, pb, relu, a, out, ready);
          });
    m.def("conv2d_backward_input",
          [](const py::object& shape, const py::array& dy, const py::array& weight,
             const std::string& algorithm, py::array dx) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a = conv2d_algorithm(
                  algorithm, s, cpu::ConvDirection::kBackwardInput, "conv2d_backward_input");
              const float* pdy = input(dy, "dy", s.output_size());
              const float* pw = input(weight, "weight", s.weight_size());
              float* out = output(dx, "dx", s.input_size());
              const DriverCall call;
              cpu::conv2d_backward_input(s, pdy, pw, a, out);
          });
    m.def("conv2d_backward_weight",
          [](const py::object& shape, const py::array& dy, const py::array& x,
             const std::string& algorithm, py::array dweight, py::array dbias) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a = conv2d_algorithm(
                  algorithm, s, cpu::ConvDirection::kBackwardWeight, "conv2d_backward_weight");
              const float* pdy = input(dy, "dy", s.output_size());
              const float* px = input(x, "x", s.input_size());
              float* pdw = output(dweight, "dweight", s.weight_size());
              float* pdb = output(dbias, "dbias", s.out_channels);
              const DriverCall call;
              cpu::conv2d_backward_weight(s, pdy, px, a, pdw, pdb);
          });
}

void define_dense(py::module_& m) {
    m.def("dense", [](const py::object& shape, const py::array& x, const py::array& weight,
                      const py::object& bias, bool relu, py::array y) {
        const DenseShape s = dense_shape(shape);
        const float* px = input(x, "x", s.input_size());
        const float* pw = input(weight, "weight", s.weight_size());
        const float* pb = optional_input(bias, "bias", s.out_features);
        float* out = output(y, "y", s.output_size());
        const DriverCall call;
        cpu::dense(s, px, pw, pb, relu, out);
    });
    m.def("dense_backward_input",
          [](const py::object& shape, const py::array& dy, const py::array& weight, py::array dx) {
              const DenseShape s = dense_shape(shape);
              const float* pdy = input(dy, "dy", s.output_size());
              const float* pw = input(weight, "weight", s.weight_size());
              float* out = output(dx, "dx", s.input_size());
              const DriverCall call;
              cpu::dense_backward_input(s, pdy, pw, out);
          });
    m.def("dense_backward_weight", [](const py::object& shape, const py::array& dy,
                                      const py::array& x, py::array dweight, py::array dbias) {
        const DenseShape s = dense_shape(shape);
        const float* pdy = input(dy, "dy", s.output_size());
        const float* px = input(x, "x", s.input_size());
        float* pdw = output(dweight, "dweight", s.weight_size());
        float* pdb = output(dbias, "dbias", s.out_features);
        const DriverCall call;
        cpu::dense_backward_weight(s, pdy, px, pdw, pdb);
    });
}

}  // namespace alexnet
