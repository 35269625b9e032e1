// alexnet._cpu: the drivers of cpp/cpu as Python functions on NumPy arrays. Each parses and checks
// under the GIL, takes raw pointers, and releases the GIL around the driver only.

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
    alexnet::define_relu(m);
}
