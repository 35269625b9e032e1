// Dense layers as products of Hopper (hopper_gemm.cuh).
//
//   float      yᵀ (out, batch)  = weightᵀ (out, in) · xᵀ (in, batch)        stored transposed
//              dxᵀ (in, batch)  = weight (in, out) · dyᵀ (out, batch)       stored transposed
//   16 bits    y (batch, out)   = x (batch, in) · weight (in, out)
//              dx (batch, in)   = dy (batch, out) · weightᵀ (out, in)
//   both       dweight (in, out) = xᵀ (in, batch) · dy (batch, out)
//
// Of float the weights are A: they are the larger part, come from memory once, and are rounded on
// their way. B is prepared in a launch of its own: x and dy, which are small beside them, and dy
// transposed. Of 16 bits nothing is prepared, and the products have the order of convolutions'.

#include <algorithm>
#include <type_traits>

#include "alexnet/size.h"
#include "column_sums.cuh"
#include "hopper_launch.cuh"
#include "hopper_layers.cuh"

namespace alexnet::cuda {
namespace {

constexpr size_t kMostIndex = 0x7fffffff;

template <class T>
constexpr bool kIsFloat = std::is_same_v<T, float>;

template <class T>
bool serves(const DenseShape& s) {
    const bool indices = s.input_size() <= kMostIndex && s.output_size() <= kMostIndex &&
                         s.weight_size() <= kMostIndex;
    return s.batch > 0 && indices && s.in_features % kVector<T> == 0 &&
           s.out_features % kVector<T> == 0 && s.in_features > 0 && s.out_features > 0 &&
           hopper_is_here();
}

template <class T>
bool serves(const DenseShape& s, Precision precision, const T* a, const T* b) {
    const bool arrays = kIsFloat<T> ? precision == Precision::kTf32 && is_aligned16(a)
                                    : is_aligned16(a) && is_aligned16(b);
    return arrays && serves<T>(s);
}

uint32_t index(size_t value) { return static_cast<uint32_t>(value); }

// B, with its depths or its rows side by side, `step` elements from line to line.
template <class T>
HopperSource<T> along_depths(const T* data, size_t rows, size_t depths, bool pairs) {
    return {data, static_cast<ptrdiff_t>(depths), 1, 0, index(rows), index(depths), 1, pairs};
}
template <class T>
HopperSource<T> along_rows(const T* data, size_t rows, size_t depths) {
    return {data, 1, static_cast<ptrdiff_t>(rows), 0, index(rows), index(depths), 1, true};
}

template <class T>
HopperSource<T> source_forward(const DenseShape& s, const T* x, const T* weight) {
    return kIsFloat<T> ? along_depths(x, s.batch, s.in_features, true)
                       : along_rows(weight, s.out_features, s.in_features);
}
template <class T>
HopperSource<T> source_input(const DenseShape& s, const T* dy, const T* weight) {
    return kIsFloat<T> ? along_depths(dy, s.batch, s.out_features, false)
                       : along_depths(weight, s.in_features, s.out_features, false);
}
template <class T>
HopperSource<T> source_weight(const DenseShape& s, const T* dy) {
    return along_rows(dy, s.out_features, s.batch);
}

// C, (batch, features), whose columns are the product's rows where A is the weights.
template <class T>
void set_result(HopperTask<T>& task, T* c, size_t batch, size_t features) {
    task.p.transposed = kIsFloat<T>;
    task.p.m = index(kIsFloat<T> ? features : batch);
    task.p.n = index(kIsFloat<T> ? batch : features);
    task.p.c = c;
    task.p.stride = features;
    task.lines = batch;
    task.neighbours = features;
}

template <class T>
size_t workspace_forward(const DenseShape& s) {
    if (!serves<T>(s)) return 0;
    const T* any = nullptr;
    return hopper_workspace(kIsFloat<T> ? s.out_features : s.batch, source_forward(s, any, any),
                            s.output_size());
}
template <class T>
size_t workspace_input(const DenseShape& s) {
    if (!serves<T>(s)) return 0;
    const T* any = nullptr;
    return hopper_workspace(kIsFloat<T> ? s.in_features : s.batch, source_input(s, any, any),
                            s.input_size());
}
template <class T>
size_t workspace_weight(const DenseShape& s) {
    if (!serves<T>(s)) return 0;
    const T* any = nullptr;
    return hopper_workspace(s.in_features, source_weight(s, any), s.weight_size(), kIsFloat<T>);
}

}  // namespace

// bfloat16 and float16 are cut alike.
size_t hopper_dense_workspace(const DenseShape& s) {
    return std::max(workspace_forward<float>(s), workspace_forward<Bfloat16>(s));
}
size_t hopper_dense_backward_input_workspace(const DenseShape& s) {
    return std::max(workspace_input<float>(s), workspace_input<Bfloat16>(s));
}
size_t hopper_dense_backward_weight_workspace(const DenseShape& s) {
    return std::max(workspace_weight<float>(s), workspace_weight<Bfloat16>(s));
}

template <class T>
bool hopper_dense(const DenseShape& s, const T* x, const T* weight, const float* bias, bool relu,
                  Precision precision, T* y, void* workspace, Stream stream) {
    if (!serves(s, precision, weight, x)) return false;
    HopperTask<T> task = {};
    set_result(task, y, s.batch, s.out_features);
    task.p.bias = bias;
    task.p.relu = relu;
    task.b = source_forward(s, x, weight);
    task.a_along_depth = !kIsFloat<T>;
    task.map_a = [&](size_t rows) {
        return kIsFloat<T> ? matrix_map(weight, s.in_features, s.out_features, s.out_features,
                                        kStepDepth<T>)
                           : matrix_map(x, s.batch, s.in_features, s.in_features, rows);
    };
    run_hopper(task, workspace, stream);
    return true;
}

template <class T>
bool hopper_dense_backward_input(const DenseShape& s, const T* dy, const T* weight,
                                 const T* relu_output, Precision precision, T* dx, void* workspace,
                                 Stream stream) {
    if (!serves(s, precision, weight, dy)) return false;
    HopperTask<T> task = {};
    set_result(task, dx, s.batch, s.in_features);
    task.p.relu_output = relu_output;
    task.b = source_input(s, dy, weight);
    task.a_along_depth = true;
    task.map_a = [&](size_t rows) {
        return kIsFloat<T> ? matrix_map(weight, s.in_features, s.out_features, s.out_features, rows)
                           : matrix_map(dy, s.batch, s.out_features, s.out_features, rows);
    };
    run_hopper(task, workspace, stream);
    return true;
}

template <class T>
bool hopper_dense_backward_weight(const DenseShape& s, const T* dy, const T* x, Precision precision,
                                  float* dweight, float* dbias, void* workspace, Stream stream) {
    if (!serves(s, precision, x, dy)) return false;
    HopperTask<T> task = {};
    task.p.m = index(s.in_features);
    task.p.n = index(s.out_features);
    task.p.gradient = dweight;
    task.p.stride = s.out_features;
    task.b = source_weight(s, dy);
    task.depth_sums = kIsFloat<T> ? dbias : nullptr;
    task.map_a = [&](size_t) {
        return matrix_map(x, s.batch, s.in_features, s.in_features, kStepDepth<T>);
    };
    task.lines = s.in_features;
    task.neighbours = s.out_features;
    run_hopper(task, workspace, stream);
    if (dbias && !kIsFloat<T>) {
        column_sums(s.batch, s.out_features, dy, dbias, workspace, stream);
    }
    return true;
}

#define ALEXNET_INSTANTIATE(T)                                                                   \
    template bool hopper_dense(const DenseShape&, const T*, const T*, const float*, bool,        \
                               Precision, T*, void*, Stream);                                    \
    template bool hopper_dense_backward_input(const DenseShape&, const T*, const T*, const T*,   \
                                              Precision, T*, void*, Stream);                     \
    template bool hopper_dense_backward_weight(const DenseShape&, const T*, const T*, Precision, \
                                               float*, float*, void*, Stream);
ALEXNET_FOR_STORED_TYPES(ALEXNET_INSTANTIATE)
#undef ALEXNET_INSTANTIATE

}  // namespace alexnet::cuda
