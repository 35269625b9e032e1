// Capture and replay for the stand-in for CuPy; capture.h says what they are.

#include <pybind11/functional.h>
#include <pybind11/pybind11.h>

#include <cstdint>

#include "capture.h"

namespace py = pybind11;
using namespace emulation;

PYBIND11_MODULE(_cuda_capture, m) {
    m.doc() = "Streams whose work is recorded, and graphs that run it.";
    py::class_<capture::Graph>(m, "Graph")
        .def("__len__", [](const capture::Graph& graph) { return graph.size(); })
        .def("launch", [](const capture::Graph& graph) {
            for (const capture::Work& work : graph) work();
        });
    m.def("begin", [](uintptr_t stream) { capture::begin(reinterpret_cast<const void*>(stream)); });
    m.def("end", &capture::end);
    m.def("record", &capture::record);
}
