// One axis of a convolution: which taps, outputs and inputs meet on the image. Ranges are half-open,
// so that naive convolution (conv2d_naive.cpp) loops over them without tests; conv2d.cpp counts taps
// to find shapes that are mostly padding.
//
//     in = 5, kernel = 3, stride = 2, pad = 1, out = 3
//
//     input     .  0  1  2  3  4  .        . is padding
//     output 0 [0  1  2]                   taps 1, 2 lie on the image
//     output 1       [0  1  2]             taps 0, 1, 2
//     output 2             [0  1  2]       taps 0, 1

#ifndef ALEXNET_CPU_CONV2D_AXIS_H_
#define ALEXNET_CPU_CONV2D_AXIS_H_

#include <algorithm>

#include "alexnet/conv2d.h"
#include "gemm.h"

namespace alexnet::cpu {

// Output o sees input o·stride + k - pad with tap k. Where none qualifies, a range is empty:
// begin == end, anywhere.
struct ConvAxis {
    size_t in, out, kernel, stride;
    size_t pad;  // before the image; what is behind it follows from `out`

    // Taps of output o that lie on the image.
    Range taps(size_t o) const {
        const size_t start = o * stride;  // counted from the edge of the padding
        const size_t begin = start < pad ? pad - start : 0;
        const size_t end = start < in + pad ? std::min(kernel, in + pad - start) : 0;
        return {begin, std::max(begin, end)};
    }
    // Outputs whose tap k lies on the image.
    Range outputs_of_tap(size_t k) const {
        const size_t begin = k < pad ? ceil_div(pad - k, stride) : 0;
        const size_t end = k < in + pad ? std::min(out, (in + pad - k - 1) / stride + 1) : 0;
        return {begin, std::max(begin, end)};
    }
    // Outputs whose window has input i, which is under tap i + pad - o·stride.
    Range outputs_of_input(size_t i) const {
        const size_t padded_i = i + pad;
        const size_t begin = padded_i < kernel ? 0 : (padded_i - kernel) / stride + 1;
        const size_t end = std::min(out, padded_i / stride + 1);
        return {begin, std::max(begin, end)};
    }
    // The number of pairs of output and tap that lie on the image, by the shorter of the two loops.
    // A double: the product over both axes may be beyond 64 bits.
    double taps_on_image() const {
        double sum = 0;
        if (out < kernel) {
            for (size_t o = 0; o < out; ++o) sum += static_cast<double>(taps(o).size());
        } else {
            for (size_t k = 0; k < kernel; ++k) {
                sum += static_cast<double>(outputs_of_tap(k).size());
            }
        }
        return sum;
    }
};

inline ConvAxis vertical_axis(const Conv2dShape& s) {
    return {.in = s.in_height,
            .out = s.out_height,
            .kernel = s.kernel_height,
            .stride = s.stride_height,
            .pad = s.pad_top};
}

inline ConvAxis horizontal_axis(const Conv2dShape& s) {
    return {.in = s.in_width,
            .out = s.out_width,
            .kernel = s.kernel_width,
            .stride = s.stride_width,
            .pad = s.pad_left};
}

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_CONV2D_AXIS_H_
