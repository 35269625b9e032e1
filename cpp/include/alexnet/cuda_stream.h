// The caller's stream, as the CUDA runtime's cudaStream_t, for declarations that need no CUDA
// header.

#ifndef ALEXNET_CUDA_STREAM_H_
#define ALEXNET_CUDA_STREAM_H_

struct CUstream_st;

namespace alexnet::cuda {

// Functions of this namespace take device pointers and put their kernels on a stream: they return
// before the work is done, and neither allocate nor synchronize. A launch that fails is a
// std::runtime_error.
using Stream = CUstream_st*;

}  // namespace alexnet::cuda

#endif  // ALEXNET_CUDA_STREAM_H_
