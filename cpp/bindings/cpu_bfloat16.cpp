// alexnet._cpu: inference in bfloat16.

#include <pybind11/stl.h>

#include "alexnet/bfloat16.h"
#include "cpu.h"
#include "dispatch.h"

namespace alexnet {

namespace {

// Arrays of float32, or of the bits of bfloat16 as uint16, which NumPy has no dtype for.
bool is_bf16(const py::array& array) { return array.dtype().equal(py::dtype::of<uint16_t>()); }

cpu::Bf16Input bf16_input(const py::array& array, const char* name, size_t size) {
    if (is_bf16(array)) return {.bits = input<uint16_t>(array, name, size)};
    return {.floats = input(array, name, size)};
}

cpu::Bf16Output bf16_output(py::array& array, const char* name, size_t size) {
    if (is_bf16(array)) return {.bits = output<uint16_t>(array, name, size)};
    return {.floats = output(array, name, size)};
}

}  // namespace

void define_bfloat16(py::module_& m) {
    m.def("bf16_instructions", &cpu::bf16_instructions);
    m.def("available_bf16_instructions", &cpu::available_bf16_instructions);
    m.def("set_bf16_instructions", &cpu::set_bf16_instructions);
    m.def("packed_dense_bf16_size", [](const py::object& shape) -> size_t {
        return cpu::packed_dense_bf16_size(dense_shape(shape));
    });
    m.def("packed_conv2d_bf16_size", [](const py::object& shape) -> size_t {
        return cpu::packed_conv2d_bf16_size(conv2d_shape(shape));
    });
    m.def("pack_dense_bf16",
          [](const py::object& shape, const py::array& weight, py::array packed) {
              const DenseShape s = dense_shape(shape);
              const cpu::Bf16Input w = bf16_input(weight, "weight", s.weight_size());
              uint16_t* out = output<uint16_t>(packed, "packed", cpu::packed_dense_bf16_size(s));
              const DriverCall call;
              cpu::pack_dense_bf16(s, w, out);
          });
    m.def("pack_conv2d_bf16",
          [](const py::object& shape, const py::array& weight, py::array packed) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::Bf16Input w = bf16_input(weight, "weight", s.weight_size());
              uint16_t* out = output<uint16_t>(packed, "packed", cpu::packed_conv2d_bf16_size(s));
              const DriverCall call;
              cpu::pack_conv2d_bf16(s, w, out);
          });
    m.def("dense_bf16", [](const py::object& shape, const py::array& x, const py::array& packed,
                           const py::object& bias, bool relu, py::array y) {
        const DenseShape s = dense_shape(shape);
        const cpu::Bf16Input in = bf16_input(x, "x", s.input_size());
        const auto* pw = input<uint16_t>(packed, "packed", cpu::packed_dense_bf16_size(s));
        const float* pb = optional_input(bias, "bias", s.out_features);
        const cpu::Bf16Output out = bf16_output(y, "y", s.output_size());
        const DriverCall call;
        cpu::dense_bf16(s, in, pw, pb, relu, out);
    });
    m.def("conv2d_bf16", [](const py::object& shape, const py::array& x, const py::array& packed,
                            const py::object& bias, bool relu, py::array y) {
        const Conv2dShape s = conv2d_shape(shape);
        const cpu::Bf16Input in = bf16_input(x, "x", s.input_size());
        const auto* pw = input<uint16_t>(packed, "packed", cpu::packed_conv2d_bf16_size(s));
        const float* pb = optional_input(bias, "bias", s.out_channels);
        const cpu::Bf16Output out = bf16_output(y, "y", s.output_size());
        const DriverCall call;
        cpu::conv2d_bf16(s, in, pw, pb, relu, out);
    });
    m.def("max_pool2d_bf16", [](const py::object& shape, const py::array& x, py::array y) {
        const Pool2dShape s = pool2d_shape(shape);
        const auto* px = input<uint16_t>(x, "x", s.input_size());
        auto* out = output<uint16_t>(y, "y", s.output_size());
        const DriverCall call;
        cpu::max_pool2d_bf16(s, px, out);
    });
    m.def("conv2d_max_pool2d_bf16",
          [](const py::object& shape, const py::object& pool_shape, const py::array& x,
             const py::array& packed, const py::object& bias, bool relu, py::array y) {
              const Conv2dShape s = conv2d_shape(shape);
              const Pool2dShape pool = pool2d_shape(pool_shape);
              const cpu::Bf16Input in = bf16_input(x, "x", s.input_size());
              const auto* pw = input<uint16_t>(packed, "packed", cpu::packed_conv2d_bf16_size(s));
              const float* pb = optional_input(bias, "bias", s.out_channels);
              auto* out = output<uint16_t>(y, "y", pool.output_size());
              const DriverCall call;
              cpu::conv2d_max_pool2d_bf16(s, pool, in, pw, pb, relu, out);
          });
}

}  // namespace alexnet
