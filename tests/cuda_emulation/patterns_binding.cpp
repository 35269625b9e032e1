// The kernels of patterns.cu for Python; apart from them, since those are compiled with hooks.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

void run_pattern(const std::string& name, int stride, unsigned blocks, const float* x, float* y);

PYBIND11_MODULE(_cuda_patterns, m) {
    m.doc() = "Kernels of known access patterns.";
    m.def("run", [](const std::string& name, int stride, unsigned blocks,
                    const pybind11::array_t<float>& x, pybind11::array_t<float> y) {
        run_pattern(name, stride, blocks, x.data(), y.mutable_data());
    });
}
