// What the last rungs of the CUDA ladders include: the product's shapes, from those of the study.

#ifndef ALEXNET_STUDY_CUDA_PRODUCT_CUH_
#define ALEXNET_STUDY_CUDA_PRODUCT_CUH_

#include "study.cuh"

using namespace alexnet::study;

#include "../product_shapes.h"

#endif  // ALEXNET_STUDY_CUDA_PRODUCT_CUH_
