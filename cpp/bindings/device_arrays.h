// CuPy arrays as device pointers. python/alexnet/cuda has checked the arguments and worded the
// errors for the user; what is checked again here is what memory safety needs: dtype, layout and
// size.

#ifndef ALEXNET_BINDINGS_DEVICE_ARRAYS_H_
#define ALEXNET_BINDINGS_DEVICE_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "alexnet/cuda_stream.h"
#include "require.h"

namespace alexnet {

namespace py = pybind11;

inline size_t size_of(const py::object& array) { return array.attr("size").cast<size_t>(); }

// The `size` elements of an array on the device.
template <typename T = float>
T* device_array(const py::object& array, const char* name, size_t size) {
    if (!py::dtype::of<T>().equal(array.attr("dtype"))) {
        throw py::type_error(std::string(name) + ": dtype is " +
                             std::string(py::str(array.attr("dtype"))) + ", expected " +
                             std::string(py::str(py::dtype::of<T>())));
    }
    require(array.attr("flags").attr("c_contiguous").cast<bool>(), name, "a C-contiguous array");
    require_size(name, size_of(array), size);
    return reinterpret_cast<T*>(array.attr("data").attr("ptr").cast<uintptr_t>());
}

// The same where None stands for "without".
inline const float* optional_device_array(const py::object& array, const char* name, size_t size) {
    return array.is_none() ? nullptr : device_array(array, name, size);
}

// A stream as Python has it: the address that CuPy calls `ptr`.
inline cuda::Stream stream_of(uintptr_t address) { return reinterpret_cast<cuda::Stream>(address); }

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_DEVICE_ARRAYS_H_
