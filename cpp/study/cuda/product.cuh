// What the last rungs of the CUDA ladders include: the product's shapes, from those of the study, and
// working memory.

#ifndef ALEXNET_STUDY_CUDA_PRODUCT_CUH_
#define ALEXNET_STUDY_CUDA_PRODUCT_CUH_

#include "study.cuh"

using namespace alexnet::study;  // keeps the order: the shapes are those of study.cuh

#include "../product_shapes.h"

namespace alexnet::study {

inline void* workspace(size_t bytes) { return scratch(bytes / sizeof(float) + 1); }

}  // namespace alexnet::study

#endif  // ALEXNET_STUDY_CUDA_PRODUCT_CUH_
