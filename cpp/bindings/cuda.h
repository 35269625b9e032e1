// What the parts of alexnet._cuda share. Each function of Python parses and checks, and puts its
// kernels on `stream`; nothing waits for them.

#ifndef ALEXNET_BINDINGS_CUDA_H_
#define ALEXNET_BINDINGS_CUDA_H_

#include "device_arrays.h"
#include "shapes.h"

namespace alexnet {

using Array = py::object;  // a cupy.ndarray

// `bytes` of device memory, as the launcher's namesake asks for; None where that is nothing.
inline void* workspace_of(const Array& array, size_t bytes) {
    if (bytes == 0) return nullptr;
    return device_array<uint8_t>(array, "workspace", bytes);
}

// The parts, which cuda.cpp puts together.
void define_conv2d(py::module_& m);
void define_winograd(py::module_& m);
void define_dense(py::module_& m);
void define_lrn(py::module_& m);
void define_relu(py::module_& m);
void define_max_pool2d(py::module_& m);
void define_lrn_max_pool2d(py::module_& m);
void define_batch_norm(py::module_& m);
void define_dropout(py::module_& m);
void define_losses(py::module_& m);
void define_optimizer(py::module_& m);
void define_mixed_precision(py::module_& m);

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_CUDA_H_
