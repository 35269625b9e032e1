// How the CUDA kernels multiply arrays of float32.

#ifndef ALEXNET_PRECISION_H_
#define ALEXNET_PRECISION_H_

namespace alexnet {

enum class Precision {
    kFloat32,  // fused multiply-adds, exact but for the last rounding
    kTf32,     // tensor cores: operands rounded to 10 bits of mantissa, sums in float32
};

}  // namespace alexnet

#endif  // ALEXNET_PRECISION_H_
