// Counts of what the kernels of the module do, for Python; counting.h says what is counted.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "counting.h"

namespace {

namespace py = pybind11;
using namespace py::literals;
using emulation::counting::Access;
using emulation::counting::Counts;
using emulation::counting::Site;
using emulation::counting::Space;

py::dict access(const Site& site, const Access& a) {
    const auto& [instruction, space, writes, copies, width] = site;
    return py::dict(
        "instruction"_a = instruction, "space"_a = space == Space::kShared ? "shared" : "global",
        "writes"_a = writes, "copies"_a = copies, "width"_a = width, "requests"_a = a.requests,
        "lanes"_a = a.lanes, "bytes"_a = a.bytes, "units"_a = a.units, "least"_a = a.least);
}

py::dict launch(const Counts& c) {
    py::list accesses;
    for (const auto& [site, a] : c.accesses) accesses.append(access(site, a));
    const auto size = [](dim3 d) { return py::make_tuple(d.x, d.y, d.z); };
    return py::dict("kernel"_a = c.kernel, "grid"_a = size(c.launch.grid),
                    "block"_a = size(c.launch.block), "shared_bytes"_a = c.launch.shared_bytes,
                    "blocks_run"_a = c.blocks, "accesses"_a = accesses,
                    "read_sectors"_a = c.read_sectors, "written_sectors"_a = c.written_sectors,
                    "l1_sectors"_a = c.l1_sectors, "bypassing_units"_a = c.bypassing_units,
                    "memory_sectors"_a = c.memory_sectors, "barriers"_a = c.barriers,
                    "warp_products"_a = c.warp_products, "warpgroup_fma"_a = c.warpgroup_fma,
                    "waits"_a = c.waits, "bytes_in_flight"_a = c.bytes_in_flight);
}

}  // namespace

PYBIND11_MODULE(_cuda_counts, m) {
    m.doc() = "Counts of what the kernels of this module do in the emulation.";
    m.def("start", &emulation::counting::start, "sample"_a);
    m.def("stop", [] {
        py::list launches;
        for (const Counts& counts : emulation::counting::stop()) launches.append(launch(counts));
        return launches;
    });
}
