// alexnet._cuda: the launchers of cpp/cuda as Python functions on CuPy arrays.

#include "cuda.h"

#include "alexnet/force_blocking.h"

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
    alexnet::define_mixed_precision(m);
    m.def("force_blocking", &alexnet::cuda::force_blocking);  // for benchmarks/gpu_check
    m.def("force_hopper_cut", &alexnet::cuda::force_hopper_cut);
    m.def("hopper_choices", [] {  // (rows, columns, blocks, splits), cycles
        pybind11::list result;
        for (const auto& c : alexnet::cuda::hopper_choices()) {
            result.append(pybind11::make_tuple(
                pybind11::make_tuple(c.rows, c.columns, c.blocks, c.splits), c.cycles));
        }
        return result;
    });
}
