// What is wrong with an argument, in one line.

#ifndef ALEXNET_BINDINGS_REQUIRE_H_
#define ALEXNET_BINDINGS_REQUIRE_H_

#include <pybind11/pybind11.h>

#include <string>

namespace alexnet {

namespace py = pybind11;

[[noreturn]] inline void refuse(const char* name, const std::string& expected) {
    throw py::value_error(std::string(name) + ": expected " + expected);
}

inline void require(bool condition, const char* name, const char* expected) {
    if (!condition) refuse(name, expected);
}

inline void require_size(const char* name, size_t size, size_t expected) {
    if (size == expected) return;
    refuse(name, std::to_string(expected) + " elements, got " + std::to_string(size));
}

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_REQUIRE_H_
