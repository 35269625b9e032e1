// Losses and optimizers of alexnet._cuda.

#include "alexnet/l2_loss.h"
#include "alexnet/optimizer.h"
#include "alexnet/softmax_cross_entropy.h"
#include "cuda.h"

namespace alexnet {
namespace {

// The numbers of an optimizer's step in the device's memory, and the loss that decides on it.
template <class Step>
cuda::StepSource<Step> step_of(const Array& step, const Array& loss) {
    const float* numbers = device_array(step, "step", sizeof(Step) / sizeof(float));
    return {{}, reinterpret_cast<const Step*>(numbers), device_array(loss, "loss", 1)};
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

}  // namespace alexnet
