// alexnet._cpu: losses and optimizers.

#include <pybind11/stl.h>

#include "alexnet/l2_loss.h"
#include "alexnet/optimizer.h"
#include "alexnet/softmax_cross_entropy.h"
#include "cpu.h"

namespace alexnet {

namespace {

// The labels of (batch, classes) logits. Out of range they would be read out of bounds.
const int64_t* labels_of(const py::array& labels, size_t batch, size_t classes) {
    const int64_t* values = input<int64_t>(labels, "labels", batch);
    for (size_t i = 0; i < batch; ++i) {
        if (values[i] < 0 || static_cast<size_t>(values[i]) >= classes) {
            refuse("labels", "values from 0 to " + std::to_string(classes - 1));
        }
    }
    return values;
}

}  // namespace

void define_losses(py::module_& m) {
    m.def("softmax_cross_entropy", [](size_t batch, size_t classes, const py::array& logits,
                                      const py::array& labels, py::array loss) {
        const float* pz = input(logits, "logits", Size{batch} * classes);
        const int64_t* plabels = labels_of(labels, batch, classes);
        float* out = output(loss, "loss", 1);
        const DriverCall call;
        *out = cpu::softmax_cross_entropy(batch, classes, pz, plabels);
    });
    m.def("softmax_cross_entropy_backward",
          [](size_t batch, size_t classes, const py::array& logits, const py::array& labels,
             py::array dlogits) {
              const float* pz = input(logits, "logits", Size{batch} * classes);
              const int64_t* plabels = labels_of(labels, batch, classes);
              float* out = output(dlogits, "dlogits", Size{batch} * classes);
              const DriverCall call;
              cpu::softmax_cross_entropy_backward(batch, classes, pz, plabels, out);
          });
    m.def("l2_loss", [](const py::array& x, py::array loss) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* out = output(loss, "loss", 1);
        const DriverCall call;
        *out = cpu::l2_loss(n, px);
    });
    m.def("l2_loss_backward", [](const py::array& x, py::array dx) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* out = output(dx, "dx", n);
        const DriverCall call;
        cpu::l2_loss_backward(n, px, out);
    });
}

void define_optimizer(py::module_& m) {
    m.def("sgd_update", [](py::array parameter, const py::array& gradient, py::array velocity,
                           double learning_rate, double momentum, double weight_decay) {
        const size_t n = static_cast<size_t>(parameter.size());
        float* p = output(parameter, "parameter", n);
        const float* g = input(gradient, "gradient", n);
        float* v = output(velocity, "velocity", n);
        const DriverCall call;
        cpu::sgd_update(n, p, g, v, learning_rate, momentum, weight_decay);
    });
    m.def("adam_update", [](py::array parameter, const py::array& gradient, py::array first_moment,
                            py::array second_moment, int64_t step, double learning_rate,
                            double beta1, double beta2, double epsilon, double weight_decay) {
        const size_t n = static_cast<size_t>(parameter.size());
        float* p = output(parameter, "parameter", n);
        const float* g = input(gradient, "gradient", n);
        float* first = output(first_moment, "first_moment", n);
        float* second = output(second_moment, "second_moment", n);
        const DriverCall call;
        cpu::adam_update(n, p, g, first, second,
                         {.step = step,
                          .learning_rate = learning_rate,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .epsilon = epsilon,
                          .weight_decay = weight_decay});
    });
}

}  // namespace alexnet
