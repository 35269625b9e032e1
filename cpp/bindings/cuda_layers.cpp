// The other layers of alexnet._cuda.

#include "alexnet/batch_norm.h"
#include "alexnet/dropout.h"
#include "alexnet/lrn.h"
#include "alexnet/lrn_max_pool2d.h"
#include "alexnet/max_pool2d.h"
#include "alexnet/relu.h"
#include "cuda.h"

namespace alexnet {
namespace {

// Null where it is None.
void* positions_of(const Array& array, const Pool2dShape& s) {
    if (cuda::has_byte_positions(s)) {
        return optional_device_array<uint8_t>(array, "positions", s.output_size());
    }
    return optional_device_array<uint64_t>(array, "positions", s.output_size());
}

}  // namespace

void define_lrn(py::module_& m) {
    m.attr("most_lrn_channels") = cuda::kMostLrnChannels;
    m.def("lrn", [](const py::object& shape, const Array& x, size_t depth_radius, float bias,
                    float alpha, float beta, const Array& y, uintptr_t stream) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        const Size size = Size{pixels} * channels;
        const LrnParameters k = {
            .depth_radius = depth_radius, .bias = bias, .alpha = alpha, .beta = beta};
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::lrn<T>(pixels, channels, k, device_array<T>(x, "x", size),
                         device_array<T>(y, "y", size), stream_of(stream));
        });
    });
    m.def("lrn_backward", [](const py::object& shape, const Array& dy, const Array& x,
                             size_t depth_radius, float bias, float alpha, float beta,
                             bool through_relu, const Array& dx, uintptr_t stream) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        const Size size = Size{pixels} * channels;
        const LrnParameters k = {
            .depth_radius = depth_radius, .bias = bias, .alpha = alpha, .beta = beta};
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::lrn_backward<T>(pixels, channels, k, device_array<T>(dy, "dy", size),
                                  device_array<T>(x, "x", size), through_relu,
                                  device_array<T>(dx, "dx", size), stream_of(stream));
        });
    });
}

void define_relu(py::module_& m) {
    m.def("relu", [](const Array& x, const Array& y, uintptr_t stream) {
        const size_t n = size_of(x);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::relu<T>(n, device_array<T>(x, "x", n), device_array<T>(y, "y", n),
                          stream_of(stream));
        });
    });
    m.def("relu_backward", [](const Array& dy, const Array& y, const Array& dx, uintptr_t stream) {
        const size_t n = size_of(dy);
        with_stored_type(dy, "dy", [&](auto type) {
            using T = decltype(type);
            cuda::relu_backward<T>(n, device_array<T>(dy, "dy", n), device_array<T>(y, "y", n),
                                   device_array<T>(dx, "dx", n), stream_of(stream));
        });
    });
}

void define_max_pool2d(py::module_& m) {
    m.def("max_pool2d_positions_dtype", [](const py::object& shape) {
        return cuda::has_byte_positions(pool2d_shape(shape)) ? "uint8" : "uint64";
    });
    m.def("max_pool2d", [](const py::object& shape, const Array& x, const Array& y,
                           const Array& positions, uintptr_t stream) {
        const Pool2dShape s = pool2d_shape(shape);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::max_pool2d<T>(s, device_array<T>(x, "x", s.input_size()),
                                optional_device_array<T>(y, "y", s.output_size()),
                                positions_of(positions, s), stream_of(stream));
        });
    });
    m.def("max_pool2d_backward",
          [](const py::object& shape, const Array& dy, const Array& positions, bool through_relu,
             const Array& dx, uintptr_t stream) {
              const Pool2dShape s = pool2d_shape(shape);
              with_stored_type(dy, "dy", [&](auto type) {
                  using T = decltype(type);
                  cuda::max_pool2d_backward<T>(
                      s, device_array<T>(dy, "dy", s.output_size()), positions_of(positions, s),
                      through_relu, device_array<T>(dx, "dx", s.input_size()), stream_of(stream));
              });
          });
}

// Both return whether there was a kernel for it.

void define_lrn_max_pool2d(py::module_& m) {
    m.def("lrn_max_pool2d",
          [](const py::object& shape, const Array& x, size_t depth_radius, float bias, float alpha,
             float beta, const Array& y, const Array& positions, uintptr_t stream) {
              const Pool2dShape s = pool2d_shape(shape);
              const LrnParameters k = {
                  .depth_radius = depth_radius, .bias = bias, .alpha = alpha, .beta = beta};
              bool done = false;
              with_stored_type(x, "x", [&](auto type) {
                  using T = decltype(type);
                  done = cuda::lrn_max_pool2d<T>(s, k, device_array<T>(x, "x", s.input_size()),
                                                 device_array<T>(y, "y", s.output_size()),
                                                 positions_of(positions, s), stream_of(stream));
              });
              return done;
          });
    m.def("lrn_max_pool2d_backward",
          [](const py::object& shape, const Array& dy, const Array& x, const Array& positions,
             size_t depth_radius, float bias, float alpha, float beta, bool through_relu,
             const Array& dx, uintptr_t stream) {
              const Pool2dShape s = pool2d_shape(shape);
              const LrnParameters k = {
                  .depth_radius = depth_radius, .bias = bias, .alpha = alpha, .beta = beta};
              bool done = false;
              with_stored_type(x, "x", [&](auto type) {
                  using T = decltype(type);
                  done = cuda::lrn_max_pool2d_backward<T>(
                      s, k, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(x, "x", s.input_size()), positions_of(positions, s),
                      through_relu, device_array<T>(dx, "dx", s.input_size()), stream_of(stream));
              });
              return done;
          });
}

void define_batch_norm(py::module_& m) {
    m.def("batch_norm_workspace", [](const py::object& shape) {
        return cuda::batch_norm_workspace(batch_norm_shape(shape));
    });
    m.def("batch_norm_inference", [](const py::object& shape, const Array& x, const Array& gamma,
                                     const Array& beta, const Array& mean, const Array& variance,
                                     double epsilon, bool relu, const Array& y, uintptr_t stream) {
        const BatchNormShape s = batch_norm_shape(shape);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::batch_norm_inference<T>(
                s, device_array<T>(x, "x", s.size()), device_array(gamma, "gamma", s.channels),
                device_array(beta, "beta", s.channels), device_array(mean, "mean", s.channels),
                device_array(variance, "variance", s.channels), epsilon, relu,
                device_array<T>(y, "y", s.size()), stream_of(stream));
        });
    });
    m.def("batch_norm_training", [](const py::object& shape, const Array& x, const Array& gamma,
                                    const Array& beta, double epsilon, bool relu, const Array& y,
                                    const Array& mean, const Array& variance,
                                    const Array& workspace, uintptr_t stream) {
        const BatchNormShape s = batch_norm_shape(shape);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::batch_norm_training<T>(
                s, device_array<T>(x, "x", s.size()), device_array(gamma, "gamma", s.channels),
                device_array(beta, "beta", s.channels), epsilon, relu,
                device_array<T>(y, "y", s.size()), device_array(mean, "mean", s.channels),
                device_array(variance, "variance", s.channels),
                workspace_of(workspace, cuda::batch_norm_workspace(s)), stream_of(stream));
        });
    });
    m.def("batch_norm_backward", [](const py::object& shape, const Array& dy, const Array& x,
                                    const Array& gamma, const Array& mean, const Array& variance,
                                    double epsilon, bool training, const Array& dx,
                                    const Array& dgamma, const Array& dbeta, const Array& workspace,
                                    uintptr_t stream) {
        const BatchNormShape s = batch_norm_shape(shape);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::batch_norm_backward<T>(
                s, device_array<T>(dy, "dy", s.size()), device_array<T>(x, "x", s.size()),
                device_array(gamma, "gamma", s.channels), device_array(mean, "mean", s.channels),
                device_array(variance, "variance", s.channels), epsilon, training,
                device_array<T>(dx, "dx", s.size()), device_array(dgamma, "dgamma", s.channels),
                device_array(dbeta, "dbeta", s.channels),
                workspace_of(workspace, cuda::batch_norm_workspace(s)), stream_of(stream));
        });
    });
    m.def("move_average", [](const Array& average, float share, const Array& value, float factor,
                             uintptr_t stream) {
        const size_t n = size_of(average);
        cuda::move_average(n, share, factor, device_array(value, "value", n),
                           device_array(average, "average", n), stream_of(stream));
    });
}

void define_dropout(py::module_& m) {
    // `later`: None, or an array of the device with seed and offset; see dropout.h.
    m.def("dropout", [](const Array& x, uint64_t seed, uint64_t offset, const Array& later,
                        uint64_t threshold, float scale, const Array& y, uintptr_t stream) {
        const size_t n = size_of(x);
        const uint64_t* numbers =
            later.is_none() ? nullptr : device_array<uint64_t>(later, "seed", 2);
        with_stored_type(x, "x", [&](auto type) {
            using T = decltype(type);
            cuda::dropout<T>(n, seed, offset, numbers, threshold, scale, device_array<T>(x, "x", n),
                             device_array<T>(y, "y", n), stream_of(stream));
        });
    });
}

}  // namespace alexnet
