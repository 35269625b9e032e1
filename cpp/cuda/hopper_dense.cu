// Dense layers as products of Hopper (hopper_gemm.cuh).
//
//   yᵀ (out, batch)  = weightᵀ (out, in) · xᵀ (in, batch)          stored transposed
//   dxᵀ (in, batch)  = weight (in, out) · dyᵀ (out, batch)         stored transposed
//   dweight (in, out) = xᵀ (in, batch) · dy (batch, out)
//
// The weights are A: they are the larger part, come from memory once, and are rounded on their way.
// B is prepared in a launch of its own: x and dy, which are small beside them, and dy transposed.

#include "alexnet/size.h"
#include "hopper_launch.cuh"
#include "hopper_layers.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMostIndex = 0x7fffffff;

bool serves(const DenseShape& s) {
    const bool indices = s.input_size() <= kMostIndex && s.output_size() <= kMostIndex &&
                         s.weight_size() <= kMostIndex;
    return s.batch > 0 && indices && s.in_features % 4 == 0 && s.out_features % 4 == 0 &&
           s.in_features > 0 && s.out_features > 0 && hopper_is_here();
}

bool serves(const DenseShape& s, Precision precision, const float* a) {
    return precision == Precision::kTf32 && is_aligned16(a) && serves(s);
}

uint32_t index(size_t value) { return static_cast<uint32_t>(value); }

// B of the three directions: of x, of dy, and of dy transposed; `data` is the caller's.
HopperSource rows_of(size_t rows, size_t depths, bool pairs) {
    return {nullptr, static_cast<ptrdiff_t>(depths), 1, 0, index(rows), index(depths), 1, pairs};
}
HopperSource source_forward(const DenseShape& s) { return rows_of(s.batch, s.in_features, true); }
HopperSource source_input(const DenseShape& s) { return rows_of(s.batch, s.out_features, false); }
HopperSource source_weight(const DenseShape& s) {
    const auto out = static_cast<ptrdiff_t>(s.out_features);
    return {nullptr, 1, out, 0, index(s.out_features), index(s.batch), 1, true};
}

size_t workspace_for(const DenseShape& s, size_t m, const HopperSource& b) {
    if (!serves(s)) return 0;
    return hopper_workspace(hopper_cut(m, b.rows, b.steps()), b, m * b.rows);
}

}  // namespace

size_t hopper_dense_workspace(const DenseShape& s) {
    return workspace_for(s, s.out_features, source_forward(s));
}

bool hopper_dense(const DenseShape& s, const float* x, const float* weight, const float* bias,
                  bool relu, Precision precision, float* y, void* workspace, Stream stream) {
    if (!serves(s, precision, weight)) return false;
    HopperTask task = {};
    task.p.m = index(s.out_features);
    task.p.n = index(s.batch);
    task.p.c = y;
    task.p.stride = s.out_features;
    task.p.transposed = true;
    task.p.bias = bias;
    task.p.relu = relu;
    task.b = source_forward(s);
    task.b.data = x;
    task.map_a = [&](size_t) {
        return matrix_map(weight, s.in_features, s.out_features, s.out_features, kStepDepth);
    };
    task.lines = s.batch;
    task.neighbours = s.out_features;
    run_hopper(task, workspace, stream);
    return true;
}

size_t hopper_dense_backward_input_workspace(const DenseShape& s) {
    return workspace_for(s, s.in_features, source_input(s));
}

bool hopper_dense_backward_input(const DenseShape& s, const float* dy, const float* weight,
                                 Precision precision, float* dx, void* workspace, Stream stream) {
    if (!serves(s, precision, weight)) return false;
    HopperTask task = {};
    task.p.m = index(s.in_features);
    task.p.n = index(s.batch);
    task.p.c = dx;
    task.p.stride = s.in_features;
    task.p.transposed = true;
    task.b = source_input(s);
    task.b.data = dy;
    task.depth_contiguous = true;
    task.map_a = [&](size_t rows) {
        return matrix_map(weight, s.in_features, s.out_features, s.out_features, rows);
    };
    task.lines = s.batch;
    task.neighbours = s.in_features;
    run_hopper(task, workspace, stream);
    return true;
}

size_t hopper_dense_backward_weight_workspace(const DenseShape& s) {
    return workspace_for(s, s.in_features, source_weight(s));
}

bool hopper_dense_backward_weight(const DenseShape& s, const float* dy, const float* x,
                                  Precision precision, float* dweight, void* workspace,
                                  Stream stream) {
    if (!serves(s, precision, x)) return false;
    HopperTask task = {};
    task.p.m = index(s.in_features);
    task.p.n = index(s.out_features);
    task.p.c = dweight;
    task.p.stride = s.out_features;
    task.b = source_weight(s);
    task.b.data = dy;
    task.map_a = [&](size_t) {
        return matrix_map(x, s.batch, s.in_features, s.in_features, kStepDepth);
    };
    task.lines = s.in_features;
    task.neighbours = s.out_features;
    run_hopper(task, workspace, stream);
    return true;
}

}  // namespace alexnet::cuda
