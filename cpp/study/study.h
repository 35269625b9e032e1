// What every rung of the study ladders includes: the shapes, vectors, threads and scratch memory.
//
// A rung is one file with one idea and one function, RUNG, which overwrites the last array. Its
// ladder, the folder, says what the function gets:
//
//   conv2d_forward          RUNG(const Conv2d& s, const float* x, const float* weight, float* y)
//   conv2d_input_gradient   RUNG(const Conv2d& s, const float* dy, const float* weight, float* dx)
//   conv2d_weight_gradient  RUNG(const Conv2d& s, const float* dy, const float* x, float* dweight)
//   dense_forward           RUNG(const Dense& s, const float* x, const float* weight, float* y)
//   dense_input_gradient    RUNG(const Dense& s, const float* dy, const float* weight, float* dx)
//   dense_weight_gradient   RUNG(const Dense& s, const float* dy, const float* x, float* dweight)
//   lrn_forward             RUNG(const Lrn& s, const float* x, float* y)
//   lrn_gradient            RUNG(const Lrn& s, const float* dy, const float* x, const float* sums,
//                                float* dx)
//   max_pool2d_forward      RUNG(const MaxPool2d& s, const float* x, float* y)
//   max_pool2d_gradient     RUNG(const MaxPool2d& s, const float* dy, const float* x,
//                                const float* taps, float* dx)
//   lrn_max_pool2d_forward  RUNG(const LrnMaxPool2d& s, const float* x, float* y)
//   lrn_max_pool2d_gradient RUNG(const LrnMaxPool2d& s, const float* dy, const float* x,
//                                const float* taps, float* dx)
//
// Arrays are float32 and contiguous, activations NHWC, weights HWIO or (in, out). `sums` are LRN's
// sums s of the forward pass; `taps` says for every window the number, counted row
// by row from 0, of its first maximum. Both are there for the rungs that keep them from the forward pass.
//
// Each file is compiled once per instruction set, with the vectors of microkernels/simd.h. As
// there, nothing but intrinsics, <cstddef>, <cstdint> and this header may be included.

#ifndef ALEXNET_STUDY_STUDY_H_
#define ALEXNET_STUDY_STUDY_H_

#include <cstddef>
#include <cstdint>

#include "simd.h"

#define ALEXNET_STUDY_JOIN(rung, isa) alexnet_study_##rung##_##isa
#define ALEXNET_STUDY_NAME(rung, isa) ALEXNET_STUDY_JOIN(rung, isa)
#define RUNG extern "C" void ALEXNET_STUDY_NAME(ALEXNET_RUNG, ALEXNET_ISA)

#include "shapes.h"

using namespace alexnet::study;
using namespace alexnet::ALEXNET_ISA;

#endif  // ALEXNET_STUDY_STUDY_H_
