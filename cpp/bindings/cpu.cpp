// alexnet._cpu: the drivers of cpp/cpu as Python functions on NumPy arrays. Each parses and checks
// under the GIL, takes raw pointers, and releases the GIL around the driver only.

#include <pybind11/stl.h>
#include <unistd.h>

#include <optional>

#include "alexnet/batch_norm.h"
#include "alexnet/bfloat16.h"
#include "alexnet/conv2d.h"
#include "alexnet/dense.h"
#include "alexnet/dropout.h"
#include "alexnet/l2_loss.h"
#include "alexnet/lrn.h"
#include "alexnet/lrn_max_pool2d.h"
#include "alexnet/max_pool2d.h"
#include "alexnet/optimizer.h"
#include "alexnet/peak.h"
#include "alexnet/relu.h"
#include "alexnet/softmax_cross_entropy.h"
#include "arrays.h"
#include "cpu_quota.h"
#include "dispatch.h"
#include "parallel.h"
#include "shapes.h"
#include "task_times.h"

namespace alexnet {
namespace {

using cpu::kernels;

// Around every call of a driver: the GIL is released, and arithmetic is the default one.
class DriverCall {
  public:
    DriverCall() : state_(PyEval_SaveThread()) {
        if (cpu::TaskTimes* const times = cpu::task_times()) times->begin_call();
    }
    DriverCall(const DriverCall&) = delete;
    // When the main thread has ended, Python before 3.14 ends a daemon thread that asks for the GIL
    // by unwinding its stack: that ends the process at a destructor, and would let destructors of
    // Python objects run without the GIL. The thread sleeps until the process ends instead, as it
    // does from Python 3.14 on.
    ~DriverCall() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) pause();
        }
    }

  private:
    PyThreadState* state_;
    cpu::DefaultArithmetic arithmetic_;
};

// A parameter as the driver takes it, rounded in the driver's arithmetic.
float to_float(double parameter) { return static_cast<float>(parameter); }

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "g++ " __VERSION__;
#else
    return "unknown";
#endif
}

void define_runtime(py::module_& m) {
    m.def("build_info", [] {
        py::dict info;
        info["version"] = ALEXNET_VERSION;
        info["compiler"] = compiler();
        info["openmp"] = cpu::has_openmp();
        info["sanitizers"] = static_cast<bool>(ALEXNET_SANITIZED);
        return info;
    });
    m.def("cpu_isa", [] { return std::string(kernels().isa); });
    m.def("available_isas", &cpu::available_isas);
    m.def("set_cpu_isa", &cpu::set_isa);
    m.def("vector_lanes", [] { return kernels().lanes; });
    m.def("get_num_threads", &cpu::num_threads);
    m.def("num_threads_from", &cpu::num_threads_from);
    m.def("cpu_quota", &cpu::cpu_quota);
    m.def("set_num_threads", &cpu::set_num_threads);
}

constexpr std::pair<const char*, cpu::ConvAlgorithm> kConvAlgorithms[] = {
    {"naive", cpu::ConvAlgorithm::kNaive},
    {"im2col", cpu::ConvAlgorithm::kIm2col},
    {"direct", cpu::ConvAlgorithm::kDirect},
    {"winograd", cpu::ConvAlgorithm::kWinograd},
};

// "auto" or a name of kConvAlgorithms; one that can't serve the shape is an error.
cpu::ConvAlgorithm conv2d_algorithm(const std::string& name, const Conv2dShape& shape,
                                    cpu::ConvDirection direction, const char* operator_name) {
    if (name == "auto") return cpu::choose_algorithm(shape, direction);
    for (const auto& [known, algorithm] : kConvAlgorithms) {
        if (name != known) continue;
        if (const char* reason = cpu::unsupported(shape, direction, algorithm)) {
            throw py::value_error(std::string(operator_name) + ": algorithm '" + name +
                                  "' cannot serve this convolution: " + reason +
                                  "; use 'auto' or 'direct'");
        }
        return algorithm;
    }
    throw py::value_error(std::string(operator_name) + ": algorithm '" + name + "' is unknown");
}

void define_conv2d(py::module_& m) {
    m.def("conv2d_choice", [](const py::object& shape, const std::string& direction) {
        const Conv2dShape s = conv2d_shape(shape);
        const auto d = direction == "forward"          ? cpu::ConvDirection::kForward
                       : direction == "backward_input" ? cpu::ConvDirection::kBackwardInput
                                                       : cpu::ConvDirection::kBackwardWeight;
        const cpu::ConvAlgorithm choice = cpu::choose_algorithm(s, d);
        for (const auto& [name, algorithm] : kConvAlgorithms) {
            if (algorithm == choice) return std::string(name);
        }
        throw py::value_error("no algorithm");
    });
    m.def("conv2d",
          [](const py::object& shape, const py::array& x, const py::array& weight,
             const py::object& bias, bool relu, const std::string& algorithm, py::array y) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a =
                  conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d");
              const float* px = input(x, "x", s.input_size());
              const float* pw = input(weight, "weight", s.weight_size());
              const float* pb = optional_input(bias, "bias", s.out_channels);
              float* out = output(y, "y", s.output_size());
              const DriverCall call;
              cpu::conv2d(s, px, pw, pb, relu, a, out);
          });
    // Weights prepared for forward, by algorithm and instruction set; see alexnet/conv2d.h.
    m.def("prepared_weight_size", [](const py::object& shape, const std::string& algorithm) {
        const Conv2dShape s = conv2d_shape(shape);
        return static_cast<size_t>(cpu::prepared_weight_size(
            s, conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d")));
    });
    m.def("prepare_weight", [](const py::object& shape, const py::array& weight,
                               const std::string& algorithm, py::array prepared) {
        const Conv2dShape s = conv2d_shape(shape);
        const cpu::ConvAlgorithm a =
            conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d");
        const float* pw = input(weight, "weight", s.weight_size());
        float* out = output(prepared, "prepared", cpu::prepared_weight_size(s, a));
        const DriverCall call;
        cpu::prepare_weight(s, pw, a, out);
    });
    // `prepared` were made with the instruction set `isa`; in another one they are not used.
    m.def("conv2d_prepared",
          [](const py::object& shape, const py::array& x, const py::array& weight,
             const py::object& bias, bool relu, const std::string& algorithm, py::array y,
             const py::array& prepared, const std::string& isa) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a =
                  conv2d_algorithm(algorithm, s, cpu::ConvDirection::kForward, "conv2d");
              const float* px = input(x, "x", s.input_size());
              const float* pw = input(weight, "weight", s.weight_size());
              const float* pb = optional_input(bias, "bias", s.out_channels);
              float* out = output(y, "y", s.output_size());
              const float* ready = nullptr;
              if (isa == kernels().isa) {
                  ready = input(prepared, "prepared", cpu::prepared_weight_size(s, a));
              }
              const DriverCall call;
              cpu::conv2d(s, px, pw, pb, relu, a, out, ready);
          });
    m.def("conv2d_backward_input",
          [](const py::object& shape, const py::array& dy, const py::array& weight,
             const std::string& algorithm, py::array dx) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a = conv2d_algorithm(
                  algorithm, s, cpu::ConvDirection::kBackwardInput, "conv2d_backward_input");
              const float* pdy = input(dy, "dy", s.output_size());
              const float* pw = input(weight, "weight", s.weight_size());
              float* out = output(dx, "dx", s.input_size());
              const DriverCall call;
              cpu::conv2d_backward_input(s, pdy, pw, a, out);
          });
    m.def("conv2d_backward_weight",
          [](const py::object& shape, const py::array& dy, const py::array& x,
             const std::string& algorithm, py::array dweight, py::array dbias) {
              const Conv2dShape s = conv2d_shape(shape);
              const cpu::ConvAlgorithm a = conv2d_algorithm(
                  algorithm, s, cpu::ConvDirection::kBackwardWeight, "conv2d_backward_weight");
              const float* pdy = input(dy, "dy", s.output_size());
              const float* px = input(x, "x", s.input_size());
              float* pdw = output(dweight, "dweight", s.weight_size());
              float* pdb = output(dbias, "dbias", s.out_channels);
              const DriverCall call;
              cpu::conv2d_backward_weight(s, pdy, px, a, pdw, pdb);
          });
}

void define_dense(py::module_& m) {
    m.def("dense", [](const py::object& shape, const py::array& x, const py::array& weight,
                      const py::object& bias, bool relu, py::array y) {
        const DenseShape s = dense_shape(shape);
        const float* px = input(x, "x", s.input_size());
        const float* pw = input(weight, "weight", s.weight_size());
        const float* pb = optional_input(bias, "bias", s.out_features);
        float* out = output(y, "y", s.output_size());
        const DriverCall call;
        cpu::dense(s, px, pw, pb, relu, out);
    });
    m.def("dense_backward_input",
          [](const py::object& shape, const py::array& dy, const py::array& weight, py::array dx) {
              const DenseShape s = dense_shape(shape);
              const float* pdy = input(dy, "dy", s.output_size());
              const float* pw = input(weight, "weight", s.weight_size());
              float* out = output(dx, "dx", s.input_size());
              const DriverCall call;
              cpu::dense_backward_input(s, pdy, pw, out);
          });
    m.def("dense_backward_weight", [](const py::object& shape, const py::array& dy,
                                      const py::array& x, py::array dweight, py::array dbias) {
        const DenseShape s = dense_shape(shape);
        const float* pdy = input(dy, "dy", s.output_size());
        const float* px = input(x, "x", s.input_size());
        float* pdw = output(dweight, "dweight", s.weight_size());
        float* pdb = output(dbias, "dbias", s.out_features);
        const DriverCall call;
        cpu::dense_backward_weight(s, pdy, px, pdw, pdb);
    });
}

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
}

LrnParameters lrn_parameters(size_t depth_radius, double bias, double alpha, double beta) {
    return {.depth_radius = depth_radius,
            .bias = to_float(bias),
            .alpha = to_float(alpha),
            .beta = to_float(beta)};
}

void define_lrn(py::module_& m) {
    m.def("lrn", [](const py::object& shape, const py::array& x, size_t depth_radius, double bias,
                    double alpha, double beta, py::array y) {
        const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
        const float* px = input(x, "x", Size{pixels} * channels);
        float* out = output(y, "y", Size{pixels} * channels);
        const DriverCall call;
        cpu::lrn(pixels, channels, lrn_parameters(depth_radius, bias, alpha, beta), px, out);
    });
    m.def("lrn_backward",
          [](const py::object& shape, const py::array& dy, const py::array& x, size_t depth_radius,
             double bias, double alpha, double beta, bool through_relu, py::array dx) {
              const size_t pixels = extent(shape, "pixels"), channels = extent(shape, "channels");
              const float* pdy = input(dy, "dy", Size{pixels} * channels);
              const float* px = input(x, "x", Size{pixels} * channels);
              float* out = output(dx, "dx", Size{pixels} * channels);
              const DriverCall call;
              cpu::lrn_backward(pixels, channels, lrn_parameters(depth_radius, bias, alpha, beta),
                                pdy, px, through_relu, out);
          });
}

void define_max_pool2d(py::module_& m) {
    m.def("max_pool2d", [](const py::object& shape, const py::array& x, py::array y) {
        const Pool2dShape s = pool2d_shape(shape);
        const float* px = input(x, "x", s.input_size());
        float* out = output(y, "y", s.output_size());
        const DriverCall call;
        cpu::max_pool2d(s, px, out);
    });
    m.def("max_pool2d_backward", [](const py::object& shape, const py::array& dy,
                                    const py::array& x, bool through_relu, py::array dx) {
        const Pool2dShape s = pool2d_shape(shape);
        const float* pdy = input(dy, "dy", s.output_size());
        const float* px = input(x, "x", s.input_size());
        float* out = output(dx, "dx", s.input_size());
        const DriverCall call;
        cpu::max_pool2d_backward(s, pdy, px, through_relu, out);
    });
}

void define_lrn_max_pool2d(py::module_& m) {
    m.def("lrn_max_pool2d",
          [](const py::object& shape, const py::array& x, size_t depth_radius, double bias,
             double alpha, double beta, py::array y, std::optional<py::array> positions) {
              const Pool2dShape s = pool2d_shape(shape);
              const float* px = input(x, "x", s.input_size());
              float* out = output(y, "y", s.output_size());
              float* at = positions ? output(*positions, "positions", s.output_size()) : nullptr;
              const DriverCall call;
              cpu::lrn_max_pool2d(s, lrn_parameters(depth_radius, bias, alpha, beta), px, out, at);
          });
    m.def("lrn_max_pool2d_backward",
          [](const py::object& shape, const py::array& dy, const py::array& x,
             const py::array& positions, size_t depth_radius, double bias, double alpha,
             double beta, bool through_relu, py::array dx) {
              const Pool2dShape s = pool2d_shape(shape);
              const float* pdy = input(dy, "dy", s.output_size());
              const float* px = input(x, "x", s.input_size());
              const float* at = input(positions, "positions", s.output_size());
              float* out = output(dx, "dx", s.input_size());
              const DriverCall call;
              cpu::lrn_max_pool2d_backward(s, lrn_parameters(depth_radius, bias, alpha, beta), pdy,
                                           px, at, through_relu, out);
          });
}

void define_relu(py::module_& m) {
    m.def("relu", [](const py::array& x, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* py_ = output(y, "y", n);
        const DriverCall call;
        cpu::relu(n, px, py_);
    });
    m.def("relu_backward", [](const py::array& dy, const py::array& y, py::array dx) {
        const size_t n = static_cast<size_t>(dy.size());
        const float* pdy = input(dy, "dy", n);
        const float* py_ = input(y, "y", n);
        float* pdx = output(dx, "dx", n);
        const DriverCall call;
        cpu::relu_backward(n, pdy, py_, pdx);
    });
}

void define_batch_norm(py::module_& m) {
    m.def("batch_norm_inference",
          [](const py::object& shape, const py::array& x, const py::array& gamma,
             const py::array& beta, const py::array& mean, const py::array& variance,
             double epsilon, bool relu, py::array y) {
              const BatchNormShape s = batch_norm_shape(shape);
              const float* px = input(x, "x", s.size());
              const float* pgamma = input(gamma, "gamma", s.channels);
              const float* pbeta = input(beta, "beta", s.channels);
              const float* pmean = input(mean, "mean", s.channels);
              const float* pvariance = input(variance, "variance", s.channels);
              float* out = output(y, "y", s.size());
              const DriverCall call;
              cpu::batch_norm_inference(s, px, pgamma, pbeta, pmean, pvariance, epsilon, relu, out);
          });
    m.def("batch_norm_training", [](const py::object& shape, const py::array& x,
                                    const py::array& gamma, const py::array& beta, double epsilon,
                                    bool relu, py::array y, py::array mean, py::array variance) {
        const BatchNormShape s = batch_norm_shape(shape);
        const float* px = input(x, "x", s.size());
        const float* pgamma = input(gamma, "gamma", s.channels);
        const float* pbeta = input(beta, "beta", s.channels);
        float* out = output(y, "y", s.size());
        float* pmean = output(mean, "mean", s.channels);
        float* pvariance = output(variance, "variance", s.channels);
        const DriverCall call;
        cpu::batch_norm_training(s, px, pgamma, pbeta, epsilon, relu, out, pmean, pvariance);
    });
    m.def("move_average",
          [](py::array average, double share, const py::array& value, double factor) {
              const size_t channels = static_cast<size_t>(average.size());
              const float* pvalue = input(value, "value", channels);
              float* paverage = output(average, "average", channels);
              const DriverCall call;
              cpu::move_average(channels, to_float(share), to_float(factor), pvalue, paverage);
          });
    m.def("batch_norm_backward",
          [](const py::object& shape, const py::array& dy, const py::array& x,
             const py::array& gamma, const py::array& mean, const py::array& variance,
             double epsilon, bool training, py::array dx, py::array dgamma, py::array dbeta) {
              const BatchNormShape s = batch_norm_shape(shape);
              const float* pdy = input(dy, "dy", s.size());
              const float* px = input(x, "x", s.size());
              const float* pgamma = input(gamma, "gamma", s.channels);
              const float* pmean = input(mean, "mean", s.channels);
              const float* pvariance = input(variance, "variance", s.channels);
              float* pdx = output(dx, "dx", s.size());
              float* pdgamma = output(dgamma, "dgamma", s.channels);
              float* pdbeta = output(dbeta, "dbeta", s.channels);
              const DriverCall call;
              cpu::batch_norm_backward(s, pdy, px, pgamma, pmean, pvariance, epsilon, training, pdx,
                                       pdgamma, pdbeta);
          });
}

void define_dropout(py::module_& m) {
    m.def("dropout", [](const py::array& x, uint64_t seed, uint64_t offset, uint64_t threshold,
                        double scale, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = input(x, "x", n);
        float* out = output(y, "y", n);
        const DriverCall call;
        cpu::dropout(n, seed, offset, threshold, to_float(scale), px, out);
    });
}

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

// The arrays of the loops over memory: whole blocks, and aligned for non-temporal stores.
template <typename Pointer>
Pointer blocks(Pointer data, const char* name, size_t n) {
    require(n % cpu::kPeakBlock == 0 && reinterpret_cast<uintptr_t>(data) % cpu::kPeakBlock == 0,
            name, "whole blocks of 128 floats, aligned to 128 bytes");
    return data;
}

void define_peak(py::module_& m) {
    m.def("fma_loop", &cpu::fma_loop, py::call_guard<DriverCall>());
    m.def("read_loop", [](const py::array& x) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = blocks(input(x, "x", n), "x", n);
        const DriverCall call;
        cpu::read_loop(n, px);
    });
    m.def("copy_loop", [](const py::array& x, py::array y) {
        const size_t n = static_cast<size_t>(x.size());
        const float* px = blocks(input(x, "x", n), "x", n);
        float* out = blocks(output(y, "y", n), "y", n);
        const DriverCall call;
        cpu::copy_loop(n, px, out);
    });
}

void define_task_times(py::module_& m) {
    m.def("start_task_times", &cpu::start_task_times);
    m.def("stop_task_times", [] {
        py::list regions;
        for (const cpu::TimedRegion& region : cpu::stop_task_times()) {
            regions.append(py::make_tuple(region.call, region.team, region.times));
        }
        return regions;
    });
}

}  // namespace
}  // namespace alexnet

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "CPU kernels of alexnet; use alexnet.cpu, which checks its arguments.";
    alexnet::define_runtime(m);
    alexnet::define_conv2d(m);
    alexnet::define_dense(m);
    alexnet::define_bfloat16(m);
    alexnet::define_lrn(m);
    alexnet::define_max_pool2d(m);
    alexnet::define_lrn_max_pool2d(m);
    alexnet::define_relu(m);
    alexnet::define_batch_norm(m);
    alexnet::define_dropout(m);
    alexnet::define_losses(m);
    alexnet::define_optimizer(m);
    alexnet::define_peak(m);
    alexnet::define_task_times(m);
}
