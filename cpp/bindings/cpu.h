// What the parts of alexnet._cpu share. Each function of Python parses and checks under the GIL,
// takes raw pointers, and releases the GIL around the driver only.

#ifndef ALEXNET_BINDINGS_CPU_H_
#define ALEXNET_BINDINGS_CPU_H_

#include <unistd.h>

#include "arrays.h"
#include "parallel.h"
#include "shapes.h"
#include "task_times.h"

namespace alexnet {

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
inline float to_float(double parameter) { return static_cast<float>(parameter); }

// The parts, which cpu.cpp puts together.
void define_conv2d(py::module_& m);
void define_dense(py::module_& m);
void define_bfloat16(py::module_& m);
void define_lrn(py::module_& m);
void define_max_pool2d(py::module_& m);
void define_lrn_max_pool2d(py::module_& m);
void define_relu(py::module_& m);
void define_batch_norm(py::module_& m);
void define_dropout(py::module_& m);
void define_losses(py::module_& m);
void define_optimizer(py::module_& m);

}  // namespace alexnet

#endif  // ALEXNET_BINDINGS_CPU_H_
