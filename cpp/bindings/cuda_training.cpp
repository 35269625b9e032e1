// Losses and optimizers of alexnet._cuda, and what networks of 16 bits do besides.

#include "alexnet/convert.h"
#include "alexnet/l2_loss.h"
#include "alexnet/loss_scale.h"
#include "alexnet/optimizer.h"
#include "alexnet/softmax_cross_entropy.h"
#include "cuda.h"

namespace alexnet {
namespace {

// The numbers of an optimizer's step in the device's memory, and the loss that decides on it.
template <class Step>
cuda::StepSource<Step> step_of(const Array& step, const Array& loss, const Array& overflow) {
    const float* numbers = device_array(step, "step", sizeof(Step) / sizeof(float));
    return {{},
            reinterpret_cast<const Step*>(numbers),
            device_array(loss, "loss", 1),
            optional_device_array<uint32_t>(overflow, "overflow", 1)};
}

template <class Step>
cuda::StepSource<Step> step_of(const Step& now, const Array& overflow) {
    return {now, nullptr, nullptr, optional_device_array<uint32_t>(overflow, "overflow", 1)};
}

// Calls body(data) with the `n` elements of an array of float16 or bfloat16.
template <class Body>
void with_16_bits(const Array& array, const char* name, size_t n, const Body& body) {
    if (dtype_name_of(array) == dtype_name<Float16>()) {
        body(device_array<Float16>(array, name, n));
    } else {
        body(device_array<Bfloat16>(array, name, n));
    }
}

// Calls body(data) with a copy in 16 bits, body() where it is None.
template <class Body>
void with_copy(const Array& copy, size_t n, const Body& body) {
    if (copy.is_none()) {
        body();
    } else {
        with_16_bits(copy, "copy", n, body);
    }
}

void sgd(const Array& parameter, const Array& gradient, const Array& velocity, const Array& copy,
         const cuda::StepSource<cuda::SgdStep>& step, uintptr_t stream) {
    const size_t n = size_of(parameter);
    with_copy(copy, n, [&](auto... data) {
        cuda::sgd_update(n, device_array(parameter, "parameter", n),
                         device_array(gradient, "gradient", n),
                         device_array(velocity, "velocity", n), step, stream_of(stream), data...);
    });
}

void adam(const Array& parameter, const Array& gradient, const Array& first_moment,
          const Array& second_moment, const Array& copy,
          const cuda::StepSource<cuda::AdamStep>& step, uintptr_t stream) {
    const size_t n = size_of(parameter);
    with_copy(copy, n, [&](auto... data) {
        cuda::adam_update(
            n, device_array(parameter, "parameter", n), device_array(gradient, "gradient", n),
            device_array(first_moment, "first_moment", n),
            device_array(second_moment, "second_moment", n), step, stream_of(stream), data...);
    });
}

cuda::LossScale* loss_scale_of(const Array& scale) {
    constexpr size_t kNumbers = sizeof(cuda::LossScale) / sizeof(float);
    return reinterpret_cast<cuda::LossScale*>(device_array(scale, "loss_scale", kNumbers));
}

}  // namespace

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
    m.def("sgd_update", [](const Array& parameter, const Array& gradient, const Array& velocity,
                           double learning_rate, double momentum, double weight_decay,
                           const Array& copy, const Array& overflow, uintptr_t stream) {
        const auto step = cuda::sgd_step(learning_rate, momentum, weight_decay);
        sgd(parameter, gradient, velocity, copy, step_of(step, overflow), stream);
    });
    m.def("sgd_update_by", [](const Array& parameter, const Array& gradient, const Array& velocity,
                              const Array& step, const Array& loss, const Array& copy,
                              const Array& overflow, uintptr_t stream) {
        sgd(parameter, gradient, velocity, copy, step_of<cuda::SgdStep>(step, loss, overflow),
            stream);
    });
    m.def("adam_update",
          [](const Array& parameter, const Array& gradient, const Array& first_moment,
             const Array& second_moment, int64_t number, double learning_rate, double beta1,
             double beta2, double epsilon, double weight_decay, const Array& copy,
             const Array& overflow, uintptr_t stream) {
              const auto step =
                  cuda::adam_step({number, learning_rate, beta1, beta2, epsilon, weight_decay});
              adam(parameter, gradient, first_moment, second_moment, copy, step_of(step, overflow),
                   stream);
          });
    m.def("adam_update_by",
          [](const Array& parameter, const Array& gradient, const Array& first_moment,
             const Array& second_moment, const Array& step, const Array& loss, const Array& copy,
             const Array& overflow, uintptr_t stream) {
              adam(parameter, gradient, first_moment, second_moment, copy,
                   step_of<cuda::AdamStep>(step, loss, overflow), stream);
          });
}

void define_mixed_precision(py::module_& m) {
    m.def("convert", [](const Array& x, const Array& y, uintptr_t stream) {
        const size_t n = size_of(x);
        if (dtype_name_of(x) == dtype_name<float>()) {
            with_16_bits(y, "y", n, [&](auto* data) {
                cuda::convert(n, device_array(x, "x", n), data, stream_of(stream));
            });
        } else {
            with_16_bits(x, "x", n, [&](const auto* data) {
                cuda::convert(n, data, device_array(y, "y", n), stream_of(stream));
            });
        }
    });
    m.attr("first_loss_scale") = cuda::kFirstLossScale;
    m.attr("least_loss_scale") = cuda::kLeastLossScale;
    m.attr("most_loss_scale") = cuda::kMostLossScale;
    m.attr("steps_to_double") = cuda::kStepsToDouble;
    m.def("scale_gradient", [](const Array& dy, const Array& scale, const Array& scaled,
                               const Array& overflow, uintptr_t stream) {
        const size_t n = size_of(dy);
        cuda::scale_gradient(n, device_array(dy, "dy", n), loss_scale_of(scale),
                             device_array<Float16>(scaled, "scaled", n),
                             device_array<uint32_t>(overflow, "overflow", 1), stream_of(stream));
    });
    m.def("unscale_gradients", [](const Array& gradient, const Array& scale, const Array& overflow,
                                  uintptr_t stream) {
        const size_t n = size_of(gradient);
        cuda::unscale_gradients(n, device_array(gradient, "gradient", n), loss_scale_of(scale),
                                device_array<uint32_t>(overflow, "overflow", 1), stream_of(stream));
    });
    m.def("update_loss_scale",
          [](const Array& scale, const Array& overflow, const Array& loss, uintptr_t stream) {
              cuda::update_loss_scale(loss_scale_of(scale),
                                      device_array<uint32_t>(overflow, "overflow", 1),
                                      optional_device_array(loss, "loss", 1), stream_of(stream));
          });
}

}  // namespace alexnet
