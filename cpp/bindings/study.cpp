// alexnet._study: the rungs of the study ladders, to be called on NumPy arrays. What a rung takes
// is checked in python/alexnet/study, which is its only caller.

#include <algorithm>

#include "arrays.h"
#include "dispatch.h"
#include "parallel.h"
#include "table.h"

extern "C" void alexnet_study_set_threads(int threads);

namespace alexnet {
namespace {

// One of a rung's arrays, as a pointer that it reads, or writes if it is the last.
void* memory(const py::handle& array, bool writes) {
    auto a = py::cast<py::array>(array);
    require((a.flags() & py::array::c_style) != 0, "arrays", "C-contiguous arrays");
    require(!writes || a.writeable(), "arrays", "a last array that is writeable");
    return const_cast<void*>(a.data());
}

// Calls the rung at an address, of this module or of a library that its user compiled. References
// and pointers are passed alike, so one type of function stands for all.
void call(uintptr_t address, const py::bytes& shape, const py::sequence& arrays) {
    const std::string bytes = shape;
    alignas(kLineBytes) unsigned char s[256] = {};
    require(bytes.size() <= sizeof(s), "shape", "256 bytes at most");
    std::copy(bytes.begin(), bytes.end(), s);
    const size_t count = arrays.size();
    require(count >= 2 && count <= 4, "arrays", "two to four");
    void* a[4] = {};
    for (size_t i = 0; i < count; ++i) a[i] = memory(arrays[i], i + 1 == count);
    const py::gil_scoped_release released;
    const cpu::DefaultArithmetic arithmetic;
    switch (count) {
        case 2:
            return reinterpret_cast<void (*)(void*, void*, void*)>(address)(s, a[0], a[1]);
        case 3:
            return reinterpret_cast<void (*)(void*, void*, void*, void*)>(address)(s, a[0], a[1],
                                                                                   a[2]);
        default:
            return reinterpret_cast<void (*)(void*, void*, void*, void*, void*)>(address)(
                s, a[0], a[1], a[2], a[3]);
    }
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_study, m) {
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
    m.def("call", &call, py::arg("address"), py::arg("shape"), py::arg("arrays"));
    m.def("set_isa", &cpu::set_isa);
    m.def("set_num_threads", [](int threads) {  // as many of them as can be started
        int team_size = 1;
        cpu::set_num_threads(threads);
        cpu::parallel(threads, [&](int thread, int team) {
            if (thread == 0) team_size = team;
        });
        alexnet_study_set_threads(team_size);
        return team_size;
    });
}
