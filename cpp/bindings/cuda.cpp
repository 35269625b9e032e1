// alexnet._cuda: the launchers of cpp/cuda as Python functions on CuPy arrays. Each parses and
// checks, and puts its kernels on `stream`; nothing waits for them.

#include "alexnet/batch_norm.h"
#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/dropout.h"
#include "alexnet/force_blocking.h"
#include "alexnet/l2_loss.h"
#include "alexnet/lrn.h"
#include "alexnet/lrn_max_pool2d.h"
#include "alexnet/max_pool2d.h"
#include "alexnet/optimizer.h"
#include "alexnet/relu.h"
#include "alexnet/softmax_cross_entropy.h"
#include "device_arrays.h"
#include "shapes.h"

namespace alexnet {
namespace {

using Array = py::object;  // a cupy.ndarray

Precision precision_of(bool tf32) { return tf32 ? Precision::kTf32 : Precision::kFloat32; }

// `bytes` of device memory, as the launcher's namesake asks for; None where that is nothing.
void* workspace_of(const Array& array, size_t bytes) {
    if (bytes == 0) return nullptr;
    return device_array<uint8_t>(array, "workspace", bytes);
}

// The numbers of an optimizer's step in the device's memory, and the loss that decides on it.
template <class Step>
cuda::StepSource<Step> step_of(const Array& step, const Array& loss) {
    const float* numbers = device_array(step, "step", sizeof(Step) / sizeof(float));
    return {{}, reinterpret_cast<const Step*>(numbers), device_array(loss, "loss", 1)};
}

void define_conv2d(py::module_& m) {
    m.def("conv2d_workspace",
          [](const py::object& shape) { return cuda::conv2d_workspace(conv2d_shape(shape)); });
    m.def("conv2d",
          [](const py::object& shape, const Array& x, const Array& weight, const Array& bias,
             bool relu, bool tf32, const Array& y, const Array& workspace, uintptr_t stream) {
              const Conv2dShape s = conv2d_shape(shape);
              cuda::conv2d(s, device_array(x, "x", s.input_size()),
                           device_array(weight, "weight", s.weight_size()),
                           optional_device_array(bias, "bias", s.out_channels), relu,
                           precision_of(tf32), device_array(y, "y", s.output_size()),
                           workspace_of(workspace, cuda::conv2d_workspace(s)), stream_of(stream));
          });
    m.def("conv2d_backward_input_workspace", [](const py::object& shape) {
        return cuda::conv2d_backward_input_workspace(conv2d_shape(shape));
    });
    m.def("conv2d_backward_input", [](const py::object& shape, const Array& dy, const Array& weight,
                                      bool tf32, const Array& dx, const Array& workspace,
                                      uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        cuda::conv2d_backward_input(
            s, device_array(dy, "dy", s.output_size()),
            device_array(weight, "weight", s.weight_size()), precision_of(tf32),
            device_array(dx, "dx", s.input_size()),
            workspace_of(workspace, cuda::conv2d_backward_input_workspace(s)), stream_of(stream));
    });
    m.def("conv2d_backward_weight_workspace", [](const py::object& shape) {
        return cuda::conv2d_backward_weight_workspace(conv2d_shape(shape));
    });
    m.def("conv2d_backward_weight", [](const py::object& shape, const Array& dy, const Array& x,
                                       bool tf32, const Array& dweight, const Array& dbias,
                                       const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        cuda::conv2d_backward_weight(
            s, device_array(dy, "dy", s.output_size()), device_array(x, "x", s.input_size()),
            precision_of(tf32), device_array(dweight, "dweight", s.weight_size()),
            device_array(dbias, "dbias", s.out_channels),
            workspace_of(workspace, cuda::conv2d_backward_weight_workspace(s)), stream_of(stream));
    });
}

ConvDirection direction_of(const std::string& name) {
    if (name == "forward") return ConvDirection::kForward;
    return name == "backward_input" ? ConvDirection::kBackwardInput
                                    : ConvDirection::kBackwardWeight;
}

void define_winograd(py::module_& m) {
    m.def("winograd_unsupported", [](const py::object& shape, const std::string& direction) {
        return cuda::winograd_unsupported(conv2d_shape(shape), direction_of(direction));
    });
    m.def("winograd_is_faster", [](const py::object& shape, const std::string& direction) {
        return cuda::winograd_is_faster(conv2d_shape(shape), direction_of(direction));
    });
    m.def("conv2d_winograd_workspace", [](const py::object& shape, size_t most_floats) {
        return cuda::conv2d_winograd_workspace(conv2d_shape(shape), most_floats);
    });
    m.def("conv2d_winograd", [](const py::object& shape, size_t most_floats, const Array& x,
                                const Array& weight, const Array& bias, bool relu, const Array& y,
                                const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        cuda::conv2d_winograd(
            s, most_floats, device_array(x, "x", s.input_size()),
            device_array(weight, "weight", s.weight_size()),
            optional_device_array(bias, "bias", s.out_channels), relu,
            device_array(y, "y", s.output_size()),
            workspace_of(workspace, cuda::conv2d_winograd_workspace(s, most_floats)),
            stream_of(stream));
    });
    m.def("conv2d_winograd_backward_input_workspace", [](const py::object& shape,
                                                         size_t most_floats) {
        return cuda::conv2d_winograd_backward_input_workspace(conv2d_shape(shape), most_floats);
    });
    m.def("conv2d_winograd_backward_input", [](const py::object& shape, size_t most_floats,
                                               const Array& dy, const Array& weight,
                                               const Array& dx, const Array& workspace,
                                               uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        cuda::conv2d_winograd_backward_input(
            s, most_floats, device_array(dy, "dy", s.output_size()),
            device_array(weight, "weight", s.weight_size()), device_array(dx, "dx", s.input_size()),
            workspace_of(workspace, cuda::conv2d_winograd_backward_input_workspace(s, most_floats)),
            stream_of(stream));
    });
    m.def("conv2d_winograd_backward_weight_workspace", [](const py::object& shape,
                                                          size_t most_floats) {
        return cuda::conv2d_winograd_backward_weight_workspace(conv2d_shape(shape), most_floats);
    });
    m.def("conv2d_winograd_backward_weight",
          [](const py::object& shape, size_t most_floats, const Array& dy, const Array& x,
             const Array& dweight, const Array& dbias, const Array& workspace, uintptr_t stream) {
              const Conv2dShape s = conv2d_shape(shape);
              cuda::conv2d_winograd_backward_weight(
                  s, most_floats, device_array(dy, "dy", s.output_size()),
                  device_array(x, "x", s.input_size()),
                  device_array(dweight, "dweight", s.weight_size()),
                  device_array(dbias, "dbias", s.out_channels),
                  workspace_of(workspace,
                               cuda::conv2d_winograd_backward_weight_workspace(s, most_floats)),
                  stream_of(stream));
          });
}

void define_dense(py::module_& m) {
    m.def("dense_workspace",
          [](const py::object& shape) { return cuda::dense_workspace(dense_shape(shape)); });
    m.def("dense",
          [](const py::object& shape, const Array& x, const Array& weight, const Array& bias,
             bool relu, bool tf32, const Array& y, const Array& workspace, uintptr_t stream) {
              const DenseShape s = dense_shape(shape);
              cuda::dense(s, device_array(x, "x", s.input_size()),
                          device_array(weight, "weight", s.weight_size()),
                          optional_device_array(bias, "bias", s.out_features), relu,
                          precision_of(tf32), device_array(y, "y", s.output_size()),
                          workspace_of(workspace, cuda::dense_workspace(s)), stream_of(stream));
          });
    m.def("dense_backward_input_workspace", [](const py::object& shape) {
        return cuda::dense_backward_input_workspace(dense_shape(shape));
    });
    m.def("dense_backward_input", [](const py::object& shape, const Array& dy, const Array& weight,
                                     bool tf32, const Array& dx, const Array& workspace,
                                     uintptr_t stream) {
        const DenseShape s = dense_shape(shape);
        cuda::dense_backward_input(s, device_array(dy, "dy", s.output_size()),
                                   device_array(weight, "weight", s.weight_size()),
                                   precision_of(tf32), device_array(dx, "dx", s.input_size()),
                                   workspace_of(workspace, cuda::dense_backward_input_workspace(s)),
                                   stream_of(stream));
    });
    m.def("dense_backward_weight_workspace", [](const py::object& shape) {
        return cuda::dense_backward_weight_workspace(dense_shape(shape));
    });
    m.def("dense_backward_weight", [](const py::object& shape, const Array& dy, const Array& x,
                                      bool tf32, const Array& dweight, const Array& dbias,
                                      const Array& workspace, uintptr_t stream) {
        const DenseShape s = dense_shape(shape);
        cuda::dense_backward_weight(
            s, device_array(dy, "dy", s.output_size()), device_array(x, "x", s.input_size()),
            precision_of(tf32), device_array(dweight, "dweight", s.weight_size()),
            device_array(dbias, "dbias", s.out_features),
            workspace_of(workspace, cuda::dense_backward_weight_workspace(s)), stream_of(stream));
    });
}

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

// Null where it is None.
void* positions_of(const Array& array, const Pool2dShape& s) {
    if (cuda::has_byte_positions(s)) {
        return optional_device_array<uint8_t>(array, "positions", s.output_size());
    }
    return optional_device_array<uint64_t>(array, "positions", s.output_size());
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

void define_losses(py::module_& m) {
    m.def("softmax_cross_entropy_workspace", &cuda::softmax_cross_entropy_workspace);
    m.def("softmax_cross_entropy",
          [](size_t batch, size_t classes, const Array& logits, const Array& labels,
             const Array& loss, const Array& workspace, uintptr_t stream) {
              with_stored_type(logits, "logits", [&](auto type) {
                  using T = decltype(type);
                  cuda::softmax_cross_entropy<T>(
                      batch, classes, device_array<T>(logits, "logits", Size{batch} * classes),
                      device_array<int64_t>(labels, "labels", batch), device_array(loss, "loss", 1),
                      workspace_of(workspace, cuda::softmax_cross_entropy_workspace(batch)),
                      stream_of(stream));
              });
          });
    m.def("softmax_cross_entropy_backward", [](size_t batch, size_t classes, const Array& logits,
                                               const Array& labels, const Array& dlogits,
                                               uintptr_t stream) {
        with_stored_type(logits, "logits", [&](auto type) {
            using T = decltype(type);
            cuda::softmax_cross_entropy_backward<T>(
                batch, classes, device_array<T>(logits, "logits", Size{batch} * classes),
                device_array<int64_t>(labels, "labels", batch),
                device_array<T>(dlogits, "dlogits", Size{batch} * classes), stream_of(stream));
        });
    });
    m.def("l2_loss_workspace", &cuda::l2_loss_workspace);
    m.def("l2_loss",
          [](const Array& x, const Array& loss, const Array& workspace, uintptr_t stream) {
              const size_t n = size_of(x);
              cuda::l2_loss(n, device_array(x, "x", n), device_array(loss, "loss", 1),
                            workspace_of(workspace, cuda::l2_loss_workspace(n)), stream_of(stream));
          });
    m.def("l2_loss_backward", [](const Array& x, const Array& dx, uintptr_t stream) {
        const size_t n = size_of(x);
        cuda::l2_loss_backward(n, device_array(x, "x", n), device_array(dx, "dx", n),
                               stream_of(stream));
    });
}

void define_optimizer(py::module_& m) {
    // The numbers of a step as the kernels have them in memory, and updates by such numbers: `step`
    // and `loss` are arrays of the device, see optimizer.h.
    m.def("sgd_step", [](double learning_rate, double momentum, double weight_decay) {
        const cuda::SgdStep s = cuda::sgd_step(learning_rate, momentum, weight_decay);
        return py::make_tuple(s.rate, s.momentum, s.weight_decay);
    });
    m.def("adam_step", [](int64_t step, double learning_rate, double beta1, double beta2,
                          double epsilon, double weight_decay) {
        const cuda::AdamStep s =
            cuda::adam_step({step, learning_rate, beta1, beta2, epsilon, weight_decay});
        return py::make_tuple(s.rate, s.root_scale, s.epsilon, s.beta1, s.beta2, s.share1, s.share2,
                              s.weight_decay);
    });
    m.def("sgd_update",
          [](const Array& parameter, const Array& gradient, const Array& velocity,
             double learning_rate, double momentum, double weight_decay, uintptr_t stream) {
              const size_t n = size_of(parameter);
              cuda::sgd_update(
                  n, device_array(parameter, "parameter", n), device_array(gradient, "gradient", n),
                  device_array(velocity, "velocity", n),
                  {cuda::sgd_step(learning_rate, momentum, weight_decay)}, stream_of(stream));
          });
    m.def("sgd_update_by", [](const Array& parameter, const Array& gradient, const Array& velocity,
                              const Array& step, const Array& loss, uintptr_t stream) {
        const size_t n = size_of(parameter);
        cuda::sgd_update(n, device_array(parameter, "parameter", n),
                         device_array(gradient, "gradient", n),
                         device_array(velocity, "velocity", n), step_of<cuda::SgdStep>(step, loss),
                         stream_of(stream));
    });
    m.def("adam_update",
          [](const Array& parameter, const Array& gradient, const Array& first_moment,
             const Array& second_moment, int64_t step, double learning_rate, double beta1,
             double beta2, double epsilon, double weight_decay, uintptr_t stream) {
              const size_t n = size_of(parameter);
              cuda::adam_update(n, device_array(parameter, "parameter", n),
                                device_array(gradient, "gradient", n),
                                device_array(first_moment, "first_moment", n),
                                device_array(second_moment, "second_moment", n),
                                {cuda::adam_step({.step = step,
                                                  .learning_rate = learning_rate,
                                                  .beta1 = beta1,
                                                  .beta2 = beta2,
                                                  .epsilon = epsilon,
                                                  .weight_decay = weight_decay})},
                                stream_of(stream));
          });
    m.def("adam_update_by",
          [](const Array& parameter, const Array& gradient, const Array& first_moment,
             const Array& second_moment, const Array& step, const Array& loss, uintptr_t stream) {
              const size_t n = size_of(parameter);
              cuda::adam_update(n, device_array(parameter, "parameter", n),
                                device_array(gradient, "gradient", n),
                                device_array(first_moment, "first_moment", n),
                                device_array(second_moment, "second_moment", n),
                                step_of<cuda::AdamStep>(step, loss), stream_of(stream));
          });
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of alexnet; use alexnet.cuda, which checks its arguments.";
    alexnet::define_conv2d(m);
    alexnet::define_winograd(m);
    alexnet::define_dense(m);
    alexnet::define_lrn(m);
    alexnet::define_max_pool2d(m);
    alexnet::define_lrn_max_pool2d(m);
    alexnet::define_relu(m);
    alexnet::define_batch_norm(m);
    alexnet::define_dropout(m);
    alexnet::define_losses(m);
    alexnet::define_optimizer(m);
    m.def("force_blocking", &alexnet::cuda::force_blocking);  // for benchmarks/gpu_check
}
