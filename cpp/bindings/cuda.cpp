// alexnet._cuda: the launchers of cpp/cuda as Python functions on CuPy arrays. Each parses and
// checks, and puts its kernels on `stream`; nothing waits for them.

#include "alexnet/batch_norm.h"
#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/dropout.h"
#include "alexnet/l2_loss.h"
#include "alexnet/lrn.h"
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

void define_conv2d(py::module_& m) {
    m.def("conv2d_workspace",
          [](const py::object& shape) { return cuda::conv2d_workspace(conv2d_shape(shape)); });
    m.def("conv2d", [](const py::object& shape, const Array& x, const Array& weight,
                       const Array& bias, bool relu, bool tf32, const Array& y,
                       const Array& workspace, uintptr_t stream) {
        const Conv2dShape s = conv2d_shape(shape);
        with_element(x, [&]<typename T>(T) {
            cuda::conv2d(s, device_array<T>(x, "x", s.input_size()),
                         device_array<T>(weight, "weight", s.weight_size()),
                         optional_device_array<T>(bias, "bias", s.out_channels), relu,
                         precision_of(tf32), device_array<T>(y, "y", s.output_size()),
                         workspace_of(workspace, cuda::conv2d_workspace(s)), stream_of(stream));
        });
    });
    m.def("conv2d_backward_input_workspace", [](const py::object& shape) {
        return cuda::conv2d_backward_input_workspace(conv2d_shape(shape));
    });
    m.def("conv2d_backward_input",
          [](const py::object& shape, const Array& dy, const Array& weight, bool tf32,
             const Array& dx, const Array& workspace, uintptr_t stream) {
              const Conv2dShape s = conv2d_shape(shape);
              with_element(dy, [&]<typename T>(T) {
                  cuda::conv2d_backward_input(
                      s, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(weight, "weight", s.weight_size()), precision_of(tf32),
                      device_array<T>(dx, "dx", s.input_size()),
                      workspace_of(workspace, cuda::conv2d_backward_input_workspace(s)),
                      stream_of(stream));
              });
          });
    m.def("conv2d_backward_weight_workspace", [](const py::object& shape) {
        return cuda::conv2d_backward_weight_workspace(conv2d_shape(shape));
    });
    m.def("conv2d_backward_weight",
          [](const py::object& shape, const Array& dy, const Array& x, bool tf32,
             const Array& dweight, const Array& dbias, const Array& workspace, uintptr_t stream) {
              const Conv2dShape s = conv2d_shape(shape);
              with_element(dy, [&]<typename T>(T) {
                  cuda::conv2d_backward_weight(
                      s, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(x, "x", s.input_size()), precision_of(tf32),
                      device_array<T>(dweight, "dweight", s.weight_size()),
                      device_array<T>(dbias, "dbias", s.out_channels),
                      workspace_of(workspace, cuda::conv2d_backward_weight_workspace(s)),
                      stream_of(stream));
              });
          });
}

void define_dense(py::module_& m) {
    m.def("dense_workspace",
          [](const py::object& shape) { return cuda::dense_workspace(dense_shape(shape)); });
    m.def("dense",
          [](const py::object& shape, const Array& x, const Array& weight, const Array& bias,
             bool relu, bool tf32, const Array& y, const Array& workspace, uintptr_t stream) {
              const DenseShape s = dense_shape(shape);
              with_element(x, [&]<typename T>(T) {
                  cuda::dense(s, device_array<T>(x, "x", s.input_size()),
                              device_array<T>(weight, "weight", s.weight_size()),
                              optional_device_array<T>(bias, "bias", s.out_features), relu,
                              precision_of(tf32), device_array<T>(y, "y", s.output_size()),
                              workspace_of(workspace, cuda::dense_workspace(s)), stream_of(stream));
              });
          });
    m.def("dense_backward_input_workspace", [](const py::object& shape) {
        return cuda::dense_backward_input_workspace(dense_shape(shape));
    });
    m.def("dense_backward_input",
          [](const py::object& shape, const Array& dy, const Array& weight, bool tf32,
             const Array& dx, const Array& workspace, uintptr_t stream) {
              const DenseShape s = dense_shape(shape);
              with_element(dy, [&]<typename T>(T) {
                  cuda::dense_backward_input(
                      s, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(weight, "weight", s.weight_size()), precision_of(tf32),
                      device_array<T>(dx, "dx", s.input_size()),
                      workspace_of(workspace, cuda::dense_backward_input_workspace(s)),
                      stream_of(stream));
              });
          });
    m.def("dense_backward_weight_workspace", [](const py::object& shape) {
        return cuda::dense_backward_weight_workspace(dense_shape(shape));
    });
    m.def("dense_backward_weight",
          [](const py::object& shape, const Array& dy, const Array& x, bool tf32,
             const Array& dweight, const Array& dbias, const Array& workspace, uintptr_t stream) {
              const DenseShape s = dense_shape(shape);
              with_element(dy, [&]<typename T>(T) {
                  cuda::dense_backward_weight(
                      s, device_array<T>(dy, "dy", s.output_size()),
                      device_array<T>(x, "x", s.input_size()), precision_of(tf32),
                      device_array<T>(dweight, "dweight", s.weight_size()),
                      device_array<T>(dbias, "dbias", s.out_features),
                      workspace_of(workspace, cuda::dense_backward_weight_workspace(s)),
                      stream_of(stream));
              });
          });
}

void define_lrn(py::module_& m) {
    m.attr("most_lrn_channels") = cuda::kMostLrnChannels;
    m.def("lrn", [](const py::object& shape, const Array& x, size_t depth_radius, float bias,
                    float alpha, float beta, const Array& y, uintptr_t stream) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        cuda::lrn(pixels, channels,
                  {.depth_radius = depth_radius, .bias = bias, .alpha = alpha, .beta = beta},
                  device_array(x, "x", Size{pixels} * channels),
                  device_array(y, "y", Size{pixels} * channels), stream_of(stream));
    });
    m.def("lrn_backward", [](const py::object& shape, const Array& dy, const Array& x,
                             size_t depth_radius, float bias, float alpha, float beta,
                             bool through_relu, const Array& dx, uintptr_t stream) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        const Size size = Size{pixels} * channels;
        cuda::lrn_backward(
            pixels, channels,
            {.depth_radius = depth_radius, .bias = bias, .alpha = alpha, .beta = beta},
            device_array(dy, "dy", size), device_array(x, "x", size), through_relu,
            device_array(dx, "dx", size), stream_of(stream));
    });
}

void define_relu(py::module_& m) {
    m.def("relu", [](const Array& x, const Array& y, uintptr_t stream) {
        const size_t n = size_of(x);
        cuda::relu(n, device_array(x, "x", n), device_array(y, "y", n), stream_of(stream));
    });
    m.def("relu_backward", [](const Array& dy, const Array& y, const Array& dx, uintptr_t stream) {
        const size_t n = size_of(dy);
        cuda::relu_backward(n, device_array(dy, "dy", n), device_array(y, "y", n),
                            device_array(dx, "dx", n), stream_of(stream));
    });
}

void define_max_pool2d(py::module_& m) {
    m.def("max_pool2d",
          [](const py::object& shape, const Array& x, const Array& y, uintptr_t stream) {
              const Pool2dShape s = pool2d_shape(shape);
              cuda::max_pool2d(s, device_array(x, "x", s.input_size()),
                               device_array(y, "y", s.output_size()), stream_of(stream));
          });
    m.def("max_pool2d_backward", [](const py::object& shape, const Array& dy, const Array& x,
                                    bool through_relu, const Array& dx, uintptr_t stream) {
        const Pool2dShape s = pool2d_shape(shape);
        cuda::max_pool2d_backward(s, device_array(dy, "dy", s.output_size()),
                                  device_array(x, "x", s.input_size()), through_relu,
                                  device_array(dx, "dx", s.input_size()), stream_of(stream));
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
        const size_t size = s.size();
        cuda::batch_norm_inference(
            s, device_array(x, "x", size), device_array(gamma, "gamma", s.channels),
            device_array(beta, "beta", s.channels), device_array(mean, "mean", s.channels),
            device_array(variance, "variance", s.channels), epsilon, relu,
            device_array(y, "y", size), stream_of(stream));
    });
    m.def("batch_norm_training", [](const py::object& shape, const Array& x, const Array& gamma,
                                    const Array& beta, double epsilon, bool relu, const Array& y,
                                    const Array& mean, const Array& variance,
                                    const Array& workspace, uintptr_t stream) {
        const BatchNormShape s = batch_norm_shape(shape);
        const size_t size = s.size();
        cuda::batch_norm_training(
            s, device_array(x, "x", size), device_array(gamma, "gamma", s.channels),
            device_array(beta, "beta", s.channels), epsilon, relu, device_array(y, "y", size),
            device_array(mean, "mean", s.channels), device_array(variance, "variance", s.channels),
            workspace_of(workspace, cuda::batch_norm_workspace(s)), stream_of(stream));
    });
    m.def(
        "batch_norm_backward",
        [](const py::object& shape, const Array& dy, const Array& x, const Array& gamma,
           const Array& mean, const Array& variance, double epsilon, bool training, const Array& dx,
           const Array& dgamma, const Array& dbeta, const Array& workspace, uintptr_t stream) {
            const BatchNormShape s = batch_norm_shape(shape);
            const size_t size = s.size();
            cuda::batch_norm_backward(
                s, device_array(dy, "dy", size), device_array(x, "x", size),
                device_array(gamma, "gamma", s.channels), device_array(mean, "mean", s.channels),
                device_array(variance, "variance", s.channels), epsilon, training,
                device_array(dx, "dx", size), device_array(dgamma, "dgamma", s.channels),
                device_array(dbeta, "dbeta", s.channels),
                workspace_of(workspace, cuda::batch_norm_workspace(s)), stream_of(stream));
        });
}

void define_dropout(py::module_& m) {
    m.def("dropout", [](const Array& x, uint64_t seed, uint64_t offset, uint64_t threshold,
                        float scale, const Array& y, uintptr_t stream) {
        const size_t n = size_of(x);
        cuda::dropout(n, seed, offset, threshold, scale, device_array(x, "x", n),
                      device_array(y, "y", n), stream_of(stream));
    });
}

void define_losses(py::module_& m) {
    m.def("softmax_cross_entropy_workspace", &cuda::softmax_cross_entropy_workspace);
    m.def("softmax_cross_entropy",
          [](size_t batch, size_t classes, const Array& logits, const Array& labels,
             const Array& loss, const Array& workspace, uintptr_t stream) {
              cuda::softmax_cross_entropy(
                  batch, classes, device_array(logits, "logits", Size{batch} * classes),
                  device_array<int64_t>(labels, "labels", batch), device_array(loss, "loss", 1),
                  workspace_of(workspace, cuda::softmax_cross_entropy_workspace(batch)),
                  stream_of(stream));
          });
    m.def("softmax_cross_entropy_backward",
          [](size_t batch, size_t classes, const Array& logits, const Array& labels,
             const Array& dlogits, uintptr_t stream) {
              cuda::softmax_cross_entropy_backward(
                  batch, classes, device_array(logits, "logits", Size{batch} * classes),
                  device_array<int64_t>(labels, "labels", batch),
                  device_array(dlogits, "dlogits", Size{batch} * classes), stream_of(stream));
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
    m.def("sgd_update",
          [](const Array& parameter, const Array& gradient, const Array& velocity,
             double learning_rate, double momentum, double weight_decay, uintptr_t stream) {
              const size_t n = size_of(parameter);
              cuda::sgd_update(n, device_array(parameter, "parameter", n),
                               device_array(gradient, "gradient", n),
                               device_array(velocity, "velocity", n), learning_rate, momentum,
                               weight_decay, stream_of(stream));
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
                                {.step = step,
                                 .learning_rate = learning_rate,
                                 .beta1 = beta1,
                                 .beta2 = beta2,
                                 .epsilon = epsilon,
                                 .weight_decay = weight_decay},
                                stream_of(stream));
          });
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of alexnet; use alexnet.cuda, which checks its arguments.";
    alexnet::define_conv2d(m);
    alexnet::define_dense(m);
    alexnet::define_lrn(m);
    alexnet::define_max_pool2d(m);
    alexnet::define_relu(m);
    alexnet::define_batch_norm(m);
    alexnet::define_dropout(m);
    alexnet::define_losses(m);
    alexnet::define_optimizer(m);
}
