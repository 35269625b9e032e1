// alexnet._cpu: the operators between convolutions and dense layers.

#include <pybind11/stl.h>

#include "alexnet/batch_norm.h"
#include "alexnet/dropout.h"
#include "alexnet/lrn.h"
#include "alexnet/lrn_max_pool2d.h"
#include "alexnet/max_pool2d.h"
#include "alexnet/relu.h"
#include "cpu.h"

namespace alexnet {

namespace {

LrnParameters lrn_parameters(size_t depth_radius, double bias, double alpha, double beta) {
    return {.depth_radius = depth_radius,
            .bias = to_float(bias),
            .alpha = to_float(alpha),
            .beta = to_float(beta)};
}

}  // namespace

void define_lrn(py::module_& m) {
    m.def("lrn", [](const py::object& shape, const py::array& x, size_t depth_radius, double bias,
                    double alpha, double beta, py::array y) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        const float* px = input(x, "x", Size{pixels} * channels);
        float* out = output(y, "y", Size{pixels} * channels);
        const DriverCall call;
        cpu::lrn(pixels, channels, lrn_parameters(depth_radius, bias, alpha, beta), px, out);
    });
    m.def("lrn_backward",
          [](const py::object& shape, const py::array& dy, const py::array& x, size_t depth_radius,
             double bias, double alpha, double beta, bool through_relu, py::array dx) {
              const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
              const float* pdy = input(dy, "dy", Size{pixels} * channels);
              const float* px = input(x, "x", Size{pixels} * channels);
              float* out = output(dx, "dx", Size{pixels} * channels);
              const DriverCall call;
              cpu::lrn_backward(pixels, channels, lrn_parameters(depth_radius, bias, alpha, beta),
                                pdy, px, through_relu, out);
          });
}

void define_max_pool2d(py::module_& m) {
    m.def("max_pool2d", [](const py::object& shape, const py::array& x, py::array y) {
        const Pool2dShape s = pool2d_shape(shape);
        const float* px = input(x, "x", s.input_size());
        float* out = output(y, "y", s.output_size());
        const DriverCall call;
        cpu::max_pool2d(s, px, out);
    });
    m.def("max_pool2d_backward", [](const py::object& shape, const py::array& dy,
                                    const py::array& x, bool through_relu, py::array dx) {
        const Pool2dShape s = pool2d_shape(shape);
        const float* pdy = input(dy, "dy", s.output_size());
        const float* px = input(x, "x", s.input_size());
        float* out = output(dx, "dx", s.input_size());
        const DriverCall call;
        cpu::max_pool2d_backward(s, pdy, px, through_relu, out);
    });
}

void define_lrn_max_pool2d(py::module_& m) {
    m.def("lrn_max_pool2d",
          [](const py::object& shape, const py::array& x, size_t depth_radius, double bias,
             double alpha, double beta, py::array y, std::optional<py::array> positions) {
              const Pool2dShape s = pool2d_shape(shape);
              const float* px = input(x, "x", s.input_size());
              float* out = output(y, "y", s.output_size());
              float* at = positions ? output(*positions, "positions", s.output_size()) : nullptr;
              const DriverCall call;
              cpu::lrn_max_pool2d(s, lrn_parameters(depth_radius, bias, alpha, beta), px, out, at);
          });
    m.def("lrn_max_pool2d_backward",
          [](const py::object& shape, const py::array& dy, const py::array& x,
             const py::array& positions, size_t depth_radius, double bias, double alpha,
             double beta, bool through_relu, py::array dx) {
              const Pool2dShape s = pool2d_shape(shape);
              const float* pdy = input(dy, "dy", s.output_size());
              const float* px = input(x, "x", s.input_size());
              const float* at = input(positions, "positions", s.output_size());
              float* out = output(dx, "dx", s.input_size());
              const DriverCall call;
              cpu::lrn_max_pool2d_backward(s, lrn_parameters(depth_radius, bias, alpha, beta), pdy,
                                           px, at, through_relu, out);
          });
}

void define_relu(py::module_& m) {
    m.def("relu", [](const py::array& x, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* py_ = output(y, "y", n);
        const DriverCall call;
        cpu::relu(n, px, py_);
    });
    m.def("relu_backward", [](const py::array& dy, const py::array& y, py::array dx) {
        const size_t n = static_cast<size_t>(dy.size());
        const float* pdy = input(dy, "dy", n);
        const float* py_ = input(y, "y", n);
        float* pdx = output(dx, "dx", n);
        const DriverCall call;
        cpu::relu_backward(n, pdy, py_, pdx);
    });
}

void define_batch_norm(py::module_& m) {
    m.def("batch_norm_inference",
          [](const py::object& shape, const py::array& x, const py::array& gamma,
             const py::array& beta, const py::array& mean, const py::array& variance,
             double epsilon, bool relu, py::array y) {
              const BatchNormShape s = batch_norm_shape(shape);
              const float* px = input(x, "x", s.size());
              const float* pgamma = input(gamma, "gamma", s.channels);
              const float* pbeta = input(beta, "beta", s.channels);
              const float* pmean = input(mean, "mean", s.channels);
              const float* pvariance = input(variance, "variance", s.channels);
              float* out = output(y, "y", s.size());
              const DriverCall call;
              cpu::batch_norm_inference(s, px, pgamma, pbeta, pmean, pvariance, epsilon, relu, out);
          });
    m.def("batch_norm_training", [](const py::object& shape, const py::array& x,
                                    const py::array& gamma, const py::array& beta, double epsilon,
                                    bool relu, py::array y, py::array mean, py::array variance) {
        const BatchNormShape s = batch_norm_shape(shape);
        const float* px = input(x, "x", s.size());
        const float* pgamma = input(gamma, "gamma", s.channels);
        const float* pbeta = input(beta, "beta", s.channels);
        float* out = output(y, "y", s.size());
        float* pmean = output(mean, "mean", s.channels);
        float* pvariance = output(variance, "variance", s.channels);
        const DriverCall call;
        cpu::batch_norm_training(s, px, pgamma, pbeta, epsilon, relu, out, pmean, pvariance);
    });
    m.def("move_average",
          [](py::array average, double share, const py::array& value, double factor) {
              const size_t channels = static_cast<size_t>(average.size());
              const float* pvalue = input(value, "value", channels);
              float* paverage = output(average, "average", channels);
              const DriverCall call;
              cpu::move_average(channels, to_float(share), to_float(factor), pvalue, paverage);
          });
    m.def("batch_norm_backward",
          [](const py::object& shape, const py::array& dy, const py::array& x,
             const py::array& gamma, const py::array& mean, const py::array& variance,
             double epsilon, bool training, py::array dx, py::array dgamma, py::array dbeta) {
              const BatchNormShape s = batch_norm_shape(shape);
              const float* pdy = input(dy, "dy", s.size());
              const float* px = input(x, "x", s.size());
              const float* pgamma = input(gamma, "gamma", s.channels);
              const float* pmean = input(mean, "mean", s.channels);
              const float* pvariance = input(variance, "variance", s.channels);
              float* pdx = output(dx, "dx", s.size());
              float* pdgamma = output(dgamma, "dgamma", s.channels);
              float* pdbeta = output(dbeta, "dbeta", s.channels);
              const DriverCall call;
              cpu::batch_norm_backward(s, pdy, px, pgamma, pmean, pvariance, epsilon, training, pdx,
                                       pdgamma, pdbeta);
          });
}

void define_dropout(py::module_& m) {
    m.def("dropout", [](const py::array& x, uint64_t seed, uint64_t offset, uint64_t threshold,
                        double scale, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* out = output(y, "y", n);
        const DriverCall call;
        cpu::dropout(n, seed, offset, threshold, to_float(scale), px, out);
    });
}

}  // namespace alexnet
