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
#include "alexnet/float16.h"
#include "require.h"

namespace alexnet {

namespace py = pybind11;

inline size_t size_of(const py::object& array) { return array.attr("size").cast<size_t>(); }

inline std::string dtype_of(const py::object& array) { return py::str(array.attr("dtype")); }

// NumPy's name of T's dtype; that of bfloat16 is from the package ml_dtypes.
template <typename T>
std::string dtype_name() {
    if (std::is_same_v<T, Bfloat16>) return "bfloat16";
    if (std::is_same_v<T, Float16>) return "float16";
    if constexpr (std::is_class_v<T>) {
        return "";
    } else {
        return py::str(py::dtype::of<T>());
    }
}

// The `size` elements of an array on the device.
template <typename T = float>
T* device_array(const py::object& array, const char* name, size_t size) {
    if (dtype_of(array) != dtype_name<T>()) {
        throw py::type_error(std::string(name) + ": dtype is " + dtype_of(array) + ", expected " +
                             dtype_name<T>());
    }
    require(array.attr("flags").attr("c_contiguous").cast<bool>(), name, "a C-contiguous array");
    require_size(name, size_of(array), size);
    return reinterpret_cast<T*>(array.attr("data").attr("ptr").cast<uintptr_t>());
}

// The same where None stands for "without".
template <typename T = float>
const T* optional_device_array(const py::object& array, const char* name, size_t size) {
    return array.is_none() ? nullptr : device_array<T>(array, name, size);
}

// Call use(T{}) with the type of a product's operands, float, Bfloat16 or Float16: that of `array`.
template <typename Use>
void with_element(const py::object& array, Use use) {
    const std::string dtype = dtype_of(array);
    if (dtype == dtype_name<Bfloat16>()) return use(Bfloat16{});
    if (dtype == dtype_name<Float16>()) return use(Float16{});
    use(float{});
}

// A stream as Python has it: the address that CuPy calls `ptr`.
inline cuda::Stream stream_of(uintptr_t address) { return reinterpret_cast<cuda::Stream>(address); }

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_DEVICE_ARRAYS_H_
