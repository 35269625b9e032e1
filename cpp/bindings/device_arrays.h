// CuPy arrays as device pointers. python/alexnet/cuda has checked the arguments and worded the
// errors for the user; what is checked again here is what memory safety needs: dtype, layout and
// size.

#ifndef ALEXNET_BINDINGS_DEVICE_ARRAYS_H_
#define ALEXNET_BINDINGS_DEVICE_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <type_traits>

#include "alexnet/cuda_stream.h"
#include "alexnet/storage.h"
#include "require.h"

namespace alexnet {

namespace py = pybind11;

inline size_t size_of(const py::object& array) { return array.attr("size").cast<size_t>(); }

// The name of an element type among NumPy's dtypes; bfloat16 is that of the package ml_dtypes.
template <typename T>
std::string dtype_name() {
    if (std::is_same_v<T, Bfloat16>) return "bfloat16";
    if (std::is_same_v<T, Float16>) return "float16";
    using Known = std::conditional_t<std::is_arithmetic_v<T>, T, float>;
    return py::str(py::dtype::of<Known>());
}

inline std::string dtype_name_of(const py::object& array) {
    return py::str(array.attr("dtype").attr("name"));
}

// The `size` elements of an array on the device.
template <typename T = float>
T* device_array(const py::object& array, const char* name, size_t size) {
    const std::string given = dtype_name_of(array);
    if (given != dtype_name<T>()) {
        throw py::type_error(std::string(name) + ": dtype is " + given + ", expected " +
                             dtype_name<T>());
    }
    require(array.attr("flags").attr("c_contiguous").cast<bool>(), name, "a C-contiguous array");
    require_size(name, size_of(array), size);
    return reinterpret_cast<T*>(array.attr("data").attr("ptr").cast<uintptr_t>());
}

// The same where None stands for "without".
template <typename T = float>
T* optional_device_array(const py::object& array, const char* name, size_t size) {
    return array.is_none() ? nullptr : device_array<T>(array, name, size);
}

// Calls body(T()) with the type of the array's elements: float, Bfloat16 or Float16.
template <typename Body>
void with_stored_type(const py::object& array, const char* name, const Body& body) {
    const std::string given = dtype_name_of(array);
    if (given == dtype_name<float>()) {
        body(float());
    } else if (given == dtype_name<Bfloat16>()) {
        body(Bfloat16());
    } else if (given == dtype_name<Float16>()) {
        body(Float16());
    } else {
        throw py::type_error(std::string(name) + ": dtype is " + given +
                             ", expected float32, bfloat16 or float16");
    }
}

// A stream as Python has it: the address that CuPy calls `ptr`.
inline cuda::Stream stream_of(uintptr_t address) { return reinterpret_cast<cuda::Stream>(address); }

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_DEVICE_ARRAYS_H_
