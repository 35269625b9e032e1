// What the last rung of each ladder includes: the product's shapes, from those of the study.

#ifndef ALEXNET_STUDY_PRODUCT_H_
#define ALEXNET_STUDY_PRODUCT_H_

#include "shapes.h"

#define ALEXNET_STUDY_JOIN(rung) alexnet_study_##rung##_any
#define ALEXNET_STUDY_NAME(rung) ALEXNET_STUDY_JOIN(rung)
#define RUNG extern "C" void ALEXNET_STUDY_NAME(ALEXNET_RUNG)

#include "product_shapes.h"

using namespace alexnet::study;

#endif  // ALEXNET_STUDY_PRODUCT_H_
