// Dense layers and convolutions as products of Hopper, hooked in before the ones of tile_gemm.cuh.
//
// T is float, Bfloat16 or Float16. Each of these does its namesake's work and returns true, or returns
// false and has done nothing: where float is not multiplied in tf32, the device is not of compute
// capability 9.0, or the shape is none that the tensor copy engine can describe (channels or features
// that are no multiple of 16 bytes, arrays not aligned to 16 bytes; and what hopper_conv2d.cu lists).
// dbias and relu_output may be null. The workspace is device memory of at least the bytes that
// ..._workspace says, whatever T is; 0 where the answer will be false.

#ifndef ALEXNET_CUDA_HOPPER_LAYERS_CUH_
#define ALEXNET_CUDA_HOPPER_LAYERS_CUH_

#include "alexnet/conv2d.h"
#include "alexnet/dense.h"

namespace alexnet::cuda {

#ifdef ALEXNET_CUDA_HOPPER  // compiled for sm_90a as well (CMakeLists.txt)

size_t hopper_dense_workspace(const DenseShape& s);
template <class T>
bool hopper_dense(const DenseShape& s, const T* x, const T* weight, const float* bias, bool relu,
                  Precision precision, T* y, void* workspace, Stream stream);
size_t hopper_dense_backward_input_workspace(const DenseShape& s);
template <class T>
bool hopper_dense_backward_input(const DenseShape& s, const T* dy, const T* weight,
                                 const T* relu_output, Precision precision, T* dx, void* workspace,
                                 Stream stream);
size_t hopper_dense_backward_weight_workspace(const DenseShape& s);
template <class T>
bool hopper_dense_backward_weight(const DenseShape& s, const T* dy, const T* x, Precision precision,
                                  float* dweight, float* dbias, void* workspace, Stream stream);

size_t hopper_conv2d_workspace(const Conv2dShape& s);
template <class T>
bool hopper_conv2d(const Conv2dShape& s, const T* x, const T* weight, const float* bias, bool relu,
                   Precision precision, T* y, void* workspace, Stream stream);
size_t hopper_conv2d_backward_input_workspace(const Conv2dShape& s);
template <class T>
bool hopper_conv2d_backward_input(const Conv2dShape& s, const T* dy, const T* weight,
                                  const T* relu_output, Precision precision, T* dx, void* workspace,
                                  Stream stream);
size_t hopper_conv2d_backward_weight_workspace(const Conv2dShape& s);
template <class T>
bool hopper_conv2d_backward_weight(const Conv2dShape& s, const T* dy, const T* x,
                                   Precision precision, float* dweight, float* dbias,
                                   void* workspace, Stream stream);

// Over images of few channels, whose windows are runs (conv2d_runs.cuh) and which are aligned to 16
// bytes; hopper_lines_shape.cuh says which. Forward wants no workspace.
template <class T>
bool hopper_lines_conv2d(const Conv2dShape& s, const T* x, const T* weight, const float* bias,
                         bool relu, Precision precision, T* y, Stream stream);
size_t hopper_lines_backward_weight_workspace(const Conv2dShape& s);
template <class T>
bool hopper_lines_backward_weight(const Conv2dShape& s, const T* dy, const T* x,
                                  Precision precision, float* dweight, float* dbias,
                                  void* workspace, Stream stream);

#else

inline size_t hopper_dense_workspace(const DenseShape&) { return 0; }
inline size_t hopper_dense_backward_input_workspace(const DenseShape&) { return 0; }
inline size_t hopper_dense_backward_weight_workspace(const DenseShape&) { return 0; }
inline size_t hopper_conv2d_workspace(const Conv2dShape&) { return 0; }
inline size_t hopper_conv2d_backward_input_workspace(const Conv2dShape&) { return 0; }
inline size_t hopper_conv2d_backward_weight_workspace(const Conv2dShape&) { return 0; }
inline size_t hopper_lines_backward_weight_workspace(const Conv2dShape&) { return 0; }

template <class... Arguments>
bool hopper_dense(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_dense_backward_input(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_dense_backward_weight(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_conv2d(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_conv2d_backward_input(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_conv2d_backward_weight(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_lines_conv2d(const Arguments&...) {
    return false;
}
template <class... Arguments>
bool hopper_lines_backward_weight(const Arguments&...) {
    return false;
}

#endif

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_HOPPER_LAYERS_CUH_
