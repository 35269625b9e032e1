// Loops that show what the device can do at most.

#ifndef ALEXNET_STUDY_CUDA_PEAK_H_
#define ALEXNET_STUDY_CUDA_PEAK_H_

#include "alexnet/cuda_stream.h"

namespace alexnet::study {

// Put `steps` of fused multiply-adds, or of products on tensor cores, on `stream`; their FLOP.
double run_peak_loop(bool tensor_cores, unsigned blocks, int steps, cuda::Stream stream);

}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_CUDA_PEAK_H_
