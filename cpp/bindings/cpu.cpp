// alexnet._cpu: the drivers of cpp/cpu as Python functions on NumPy arrays. Here are the module, what
// tells of the library itself, and what measures; the operators are in cpu_*.cpp.

#include "cpu.h"

#include <pybind11/stl.h>

#include "alexnet/peak.h"
#include "cpu_quota.h"
#include "dispatch.h"

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
        info["version"] = ALEXNET_VERSION;
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
    m.def("num_threads_from", &cpu::num_threads_from);
    m.def("cpu_quota", &cpu::cpu_quota);
    m.def("set_num_threads", &cpu::set_num_threads);
}

// The arrays of the loops over memory: whole blocks, and aligned for non-temporal stores.
template <typename Pointer>
Pointer blocks(Pointer data, const char* name, size_t n) {
    require(n % cpu::kPeakBlock == 0 && reinterpret_cast<uintptr_t>(data) % cpu::kPeakBlock == 0,
            name, "whole blocks of 128 floats, aligned to 128 bytes");
    return data;
}

void define_peak(py::module_& m) {
    m.def("fma_loop", &cpu::fma_loop, py::call_guard<DriverCall>());
    m.def("read_loop", [](const py::array& x) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = blocks(input(x, "x", n), "x", n);
        const DriverCall call;
        cpu::read_loop(n, px);
    });
    m.def("copy_loop", [](const py::array& x, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = blocks(input(x, "x", n), "x", n);
        float* out = blocks(output(y, "y", n), "y", n);
        const DriverCall call;
        cpu::copy_loop(n, px, out);
    });
}

void define_task_times(py::module_& m) {
    m.def("start_task_times", &cpu::start_task_times);
    m.def("stop_task_times", [] {
        py::list regions;
        for (const cpu::TimedRegion& region : cpu::stop_task_times()) {
            regions.append(py::make_tuple(region.call, region.team, region.times));
        }
        return regions;
    });
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "CPU kernels of alexnet; use alexnet.cpu, which checks its arguments.";
    alexnet::define_runtime(m);
    alexnet::define_conv2d(m);
    alexnet::define_dense(m);
    alexnet::define_bfloat16(m);
    alexnet::define_lrn(m);
    alexnet::define_max_pool2d(m);
    alexnet::define_lrn_max_pool2d(m);
    alexnet::define_relu(m);
    alexnet::define_batch_norm(m);
    alexnet::define_dropout(m);
    alexnet::define_losses(m);
    alexnet::define_optimizer(m);
    alexnet::define_peak(m);
    alexnet::define_task_times(m);
}
