// Convolution as its definition reads: one output element after the other, all loops spelled out.
// For study and as a cross-check of the other algorithms.
//
// Cost: 2 FLOP for each tap that lies on the image and each output channel, one multiply-add at a
// time: hundreds of times slower than direct. No working memory, and nothing is spent on padding,
// so conv2d.cpp takes it for shapes that are mostly padding.
// Threads: each owns a range of rows of the result.
// Numerics: double sums, rounded once.

#include "conv2d.h"
#include "conv2d_axis.h"
#include "parallel.h"

namespace alexnet::cpu::naive {

void forward(const Conv2dShape& s, const float* x, const float* weight, const float* bias,
             bool relu, float* y) {
    const size_t group_in = s.group_in(), group_out = s.group_out();
    const ConvAxis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
    parallel_for(s.batch * s.out_height, 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const size_t n = row / s.out_height, oh = row % s.out_height;
            const Range down = vertical.taps(oh);
            for (size_t ow = 0; ow < s.out_width; ++ow) {
                const Range across = horizontal.taps(ow);
                for (size_t o = 0; o < s.out_channels; ++o) {
                    double sum = bias ? bias[o] : 0.0;
                    for (size_t kh = down.begin; kh < down.end; ++kh) {
                        const size_t ih = oh * s.stride_height + kh - s.pad_top;
                        for (size_t kw = across.begin; kw < across.end; ++kw) {
                            const size_t iw = ow * s.stride_width + kw - s.pad_left;
                            const float* px =
                                x + s.input_pixel(n, ih, iw) + o / group_out * group_in;
                            const float* pw =
                                weight + (kh * s.kernel_width + kw) * group_in * s.out_channels + o;
                            for (size_t c = 0; c < group_in; ++c) {
                                sum += double(px[c]) * pw[c * s.out_channels];
                            }
                        }
                    }
                    const float value = static_cast<float>(sum);
                    // Written so that NaN stays, as NumPy's maximum has it.
                    y[s.output_pixel(n, oh, ow) + o] = relu && value < 0.0f ? 0.0f : value;
                }
            }
        }
    });
}

void backward_input(const Conv2dShape& s, const float* dy, const float* weight, float* dx) {
    const size_t group_in = s.group_in(), group_out = s.group_out();
    const ConvAxis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
    parallel_for(s.batch * s.in_height, 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const size_t n = row / s.in_height, ih = row % s.in_height;
            const Range down = vertical.outputs_of_input(ih);
            for (size_t iw = 0; iw < s.in_width; ++iw) {
                const Range across = horizontal.outputs_of_input(iw);
                for (size_t c = 0; c < s.in_channels; ++c) {
                    const size_t group = c / group_in;
                    double sum = 0.0;
                    for (size_t oh = down.end; oh-- > down.begin;) {  // taps from the first on
                        const size_t kh = ih + s.pad_top - oh * s.stride_height;
                        for (size_t ow = across.end; ow-- > across.begin;) {
                            const size_t kw = iw + s.pad_left - ow * s.stride_width;
                            const float* pdy = dy + s.output_pixel(n, oh, ow) + group * group_out;
                            const size_t tap = kh * s.kernel_width + kw;
                            const float* pw = weight +
                                              (tap * group_in + c % group_in) * s.out_channels +
                                              group * group_out;
                            for (size_t o = 0; o < group_out; ++o) sum += double(pdy[o]) * pw[o];
                        }
                    }
                    dx[s.input_pixel(n, ih, iw) + c] = static_cast<float>(sum);
                }
            }
        }
    });
}

void backward_weight(const Conv2dShape& s, const float* dy, const float* x, float* dweight) {
    const size_t group_in = s.group_in(), group_out = s.group_out();
    const ConvAxis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
    parallel_for(s.window(), 1, [&](size_t begin, size_t end) {
        for (size_t row = begin; row < end; ++row) {
            const size_t c = row % group_in, tap = row / group_in;
            const size_t kh = tap / s.kernel_width, kw = tap % s.kernel_width;
            const Range down = vertical.outputs_of_tap(kh), across = horizontal.outputs_of_tap(kw);
            for (size_t o = 0; o < s.out_channels; ++o) {
                double sum = 0.0;
                for (size_t n = 0; n < s.batch; ++n) {
                    for (size_t oh = down.begin; oh < down.end; ++oh) {
                        const size_t ih = oh * s.stride_height + kh - s.pad_top;
                        for (size_t ow = across.begin; ow < across.end; ++ow) {
                            const size_t iw = ow * s.stride_width + kw - s.pad_left;
                            sum += double(dy[s.output_pixel(n, oh, ow) + o]) *
                                   x[s.input_pixel(n, ih, iw) + o / group_out * group_in + c];
                        }
                    }
                }
                dweight[row * s.out_channels + o] = static_cast<float>(sum);
            }
        }
    });
}

}  // namespace alexnet::cpu::naive
