// Local response normalisation (lrn.h) and max pooling of its output (max_pool2d.h) in one pass,
// which keeps what lies between the two in the caches. The result has the bits of the two operators
// one after the other.

#ifndef ALEXNET_LRN_MAX_POOL2D_H_
#define ALEXNET_LRN_MAX_POOL2D_H_

#include "alexnet/lrn.h"
#include "alexnet/max_pool2d.h"

namespace alexnet::cpu {

void lrn_max_pool2d(const Pool2dShape& shape, const LrnParameters& parameters, const float* x,
                    float* y);

}  // namespace alexnet::cpu

#endif  // ALEXNET_LRN_MAX_POOL2D_H_
