// alexnet._study_cuda: the rungs of the CUDA ladders, to be called on CuPy arrays. What a rung takes
// is checked in python/alexnet/study, which is its only caller.

#include <algorithm>

#include "cuda/peak.h"
#include "device_arrays.h"
#include "table.h"

namespace alexnet {
namespace {

// Calls the rung at an address. References and pointers are passed alike, so one type of function
// stands for all.
void call(uintptr_t address, const py::bytes& shape, const py::sequence& arrays, uintptr_t stream) {
    const std::string bytes = shape;
    alignas(64) unsigned char s[256] = {};
    require(bytes.size() <= sizeof(s), "shape", "256 bytes at most");
    std::copy(bytes.begin(), bytes.end(), s);
    const size_t count = arrays.size();
    require(count >= 2 && count <= 4, "arrays", "two to four");
    void* a[4] = {};
    for (size_t i = 0; i < count; ++i) {
        const py::object array = arrays[i];
        a[i] = device_array(array, "arrays", size_of(array));
        require(reinterpret_cast<uintptr_t>(a[i]) % 16 == 0, "arrays",
                "memory aligned to 16 bytes");
    }
    void* on = stream_of(stream);
    switch (count) {
        case 2:
            return reinterpret_cast<void (*)(void*, void*, void*, void*)>(address)(s, a[0], a[1],
                                                                                   on);
        case 3:
            return reinterpret_cast<void (*)(void*, void*, void*, void*, void*)>(address)(
                s, a[0], a[1], a[2], on);
        default:
            return reinterpret_cast<void (*)(void*, void*, void*, void*, void*, void*)>(address)(
                s, a[0], a[1], a[2], a[3], on);
    }
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_study_cuda, m) {
    using namespace alexnet;
    m.def("rungs", [] {
        py::list all;
        for (size_t i = 0; i < study::rung_count; ++i) {
            const study::Rung& rung = study::rungs[i];
            all.append(py::make_tuple(rung.ladder, rung.number, rung.isa,
                                      reinterpret_cast<uintptr_t>(rung.function)));
        }
        return all;
    });
    m.def("call", &call, py::arg("address"), py::arg("shape"), py::arg("arrays"),
          py::arg("stream"));
    m.def(
        "peak_loop",
        [](bool tensor_cores, unsigned blocks, int steps, uintptr_t stream) {
            return study::run_peak_loop(tensor_cores, blocks, steps, stream_of(stream));
        },
        py::arg("tensor_cores"), py::arg("blocks"), py::arg("steps"), py::arg("stream"));
}
