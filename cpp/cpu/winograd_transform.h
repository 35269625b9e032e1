// The transforms of a tile along both axes, two passes of the micro-kernels' one-dimensional ones
// (microkernels/winograd.cpp). All of them work on vectors of channels.
//
//      what it reads            first pass             second pass         what it writes
//                             every column            every row
//     +--+--+--+--+          +--+--+--+--+          +--+--+--+--+
//     |  |  |  |  |          |  |  |  |  |          |  |  |  |  |
//     +--+--+--+--+  left    +--+--+--+--+  right   +--+--+--+--+
//     |  in[.]    |  matrix  | temporary |  matrix  |  out[.]   |
//     +--+--+--+--+  ----->  +--+--+--+--+  ----->  +--+--+--+--+
//     |  |  |  |  |          |  |  |  |  |          |  |  |  |  |
//     +--+--+--+--+          +--+--+--+--+          +--+--+--+--+
//     a pointer for each     4 KiB on the stack     a pointer for each
//
//     input            d  -> V  = Bᵀ · d · B      of each tile
//     output           M  -> Y  = Aᵀ · M · A
//     output gradient  dY -> dM = A · dY · Aᵀ
//     weight           g  -> U  = G · g · Gᵀ      once for all tiles
//     weight gradient  dU -> dg = Gᵀ · dU · G

#ifndef ALEXNET_CPU_WINOGRAD_TRANSFORM_H_
#define ALEXNET_CPU_WINOGRAD_TRANSFORM_H_

#include "winograd_tiling.h"

namespace alexnet::cpu::winograd {

struct Transform {
    WinogradStep vertical, horizontal;
    // U and dM: written by non-temporal stores; a stream_fence must follow. Y and dg always are.
    bool stream = false;
    // What is read in the next calls is prefetched from so many floats further.
    size_t prefetch_distance = 48;

    // Transforms `in_lanes` channels from in_offset on to `out_lanes` from out_offset on. bias, of
    // the channels from 0 on, and relu are for outputs. Returns whether all values of Y, before the
    // ReLU, or of dg are finite; true of the other transforms.
    bool operator()(const float* const* in, size_t in_offset, size_t in_lanes, float* const* out,
                    size_t out_offset, size_t out_lanes, const float* bias = nullptr,
                    bool relu = false) const;
};

// Of tile (p, q) of an image.
Transform input_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q);
Transform output_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q);
Transform output_gradient_transform(const KernelTable& k, const Tiling& t, size_t p, size_t q);
// To and from the points of the largest tile.
Transform weight_transform(const KernelTable& k, const Tiling& t);
Transform weight_gradient_transform(const KernelTable& k, const Tiling& t);

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_TRANSFORM_H_
