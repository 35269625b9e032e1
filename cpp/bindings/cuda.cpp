// alexnet._cuda: the launchers of cpp/cuda as Python functions on CuPy arrays. Each parses and
// checks, and puts its kernels on `stream`; nothing waits for them.

#include <pybind11/stl.h>

#include "alexnet/lrn.h"
#include "alexnet/relu.h"
#include "device_arrays.h"

namespace alexnet {
namespace {

using Array = py::object;  // a cupy.ndarray

void define_lrn(py::module_& m) {
    m.attr("most_lrn_channels") = cuda::kMostLrnChannels;
    m.def("lrn", [](const py::object& shape, const Array& x, size_t depth_radius, float bias,
                    float alpha, float beta, const Array& y, uintptr_t stream) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        cuda::lrn(pixels, channels, {depth_radius, bias, alpha, beta},
                  device_array(x, "x", pixels * channels), device_array(y, "y", pixels * channels),
                  stream_of(stream));
    });
    m.def("lrn_backward", [](const py::object& shape, const Array& dy, const Array& x,
                             size_t depth_radius, float bias, float alpha, float beta,
                             bool through_relu, const Array& dx, uintptr_t stream) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        const size_t size = pixels * channels;
        cuda::lrn_backward(pixels, channels, {depth_radius, bias, alpha, beta},
                           device_array(dy, "dy", size), device_array(x, "x", size), through_relu,
                           device_array(dx, "dx", size), stream_of(stream));
    });
}

void define_relu(py::module_& m) {
    m.def("relu", [](const Array& x, const Array& y, uintptr_t stream) {
        const size_t n = size_of(x);
        cuda::relu(n, device_array(x, "x", n), device_array(y, "y", n), stream_of(stream));
    });
    m.def("relu_backward",
          [](const Array& dy, const Array& y, const Array& dx, uintptr_t stream) {
              const size_t n = size_of(dy);
              cuda::relu_backward(n, device_array(dy, "dy", n), device_array(y, "y", n),
                                  device_array(dx, "dx", n), stream_of(stream));
          });
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of alexnet; use alexnet.cuda, which checks its arguments.";
    alexnet::define_lrn(m);
    alexnet::define_relu(m);
}
