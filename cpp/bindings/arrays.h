// NumPy arrays as pointers. python/alexnet/cpu has checked the arguments and worded the errors for
// the user; what is checked again here is what memory safety needs: dtype, layout, alignment, size.

#ifndef ALEXNET_BINDINGS_ARRAYS_H_
#define ALEXNET_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "require.h"

namespace alexnet {

namespace py = pybind11;

template <typename T>
void check_array(const py::array& array, const char* name, size_t size) {
    // Equal, not only the same object: a dtype with metadata, or made anew, is as good.
    if (!array.dtype().is(py::dtype::of<T>()) && !array.dtype().equal(py::dtype::of<T>())) {
        throw py::type_error(std::string(name) + ": dtype is " +
                             std::string(py::str(array.dtype())) + ", expected " +
                             std::string(py::str(py::dtype::of<T>())));
    }
    require((array.flags() & py::array::c_style) != 0, name, "a C-contiguous array");
    require((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0, name,
            "an aligned array");
    require_size(name, static_cast<size_t>(array.size()), size);
}

// The `size` elements of an array that is only read.
template <typename T = float>
const T* input(const py::array& array, const char* name, size_t size) {
    check_array<T>(array, name, size);
    return static_cast<const T*>(array.data());
}

// The same where None stands for "without".
inline const float* optional_input(const py::object& object, const char* name, size_t size) {
    return object.is_none() ? nullptr : input(py::cast<py::array>(object), name, size);
}

// The `size` elements of an array that is written.
template <typename T = float>
T* output(py::array& array, const char* name, size_t size) {
    check_array<T>(array, name, size);
    require(array.writeable(), name, "a writeable array");
    return static_cast<T*>(array.mutable_data());
}

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_ARRAYS_H_
