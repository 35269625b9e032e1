// Convolution as its definition reads: one output element after the other, all loops spelled out.
// For study and as a cross-check of the other algorithms.
//
// Cost: 2 FLOP for each tap that lies on the image and each output channel, one multiply-add at a
// time: hundreds of times slower than direct. No working memory, and nothing is spent on padding,
// so conv2d.cpp takes it for shapes that are mostly padding.
// Threads: each owns a range of rows of the result.
// Numerics: double sums, rounded once. Products with the zeros of the padding are 0, or NaN: these
// are added afterwards.

#include <vector>

#include "conv2d.h"
#include "conv2d_axis.h"
#include "dispatch.h"
#include "parallel.h"

namespace alexnet::cpu::naive {
namespace {

// Input coordinate that output `o` reads with kernel element `k`; `size` or more when outside, as
// the unsigned difference wraps around.
size_t source(size_t o, size_t stride, size_t k, size_t pad) { return o * stride + k - pad; }

// The zeros of the padding are values like any other: their products are 0, which the loops leave
// out, but NaN with what is not finite. visit(tap, pixel) for every tap of every output that meets
// padding.
template <typename Visit>
void for_each_on_padding(const Conv2dShape& s, const Visit& visit) {
    for (size_t kh = 0; kh < s.kernel_height; ++kh) {
        for (size_t kw = 0; kw < s.kernel_width; ++kw) {
            for (size_t oh = 0; oh < s.out_height; ++oh) {
                const bool row = source(oh, s.stride_height, kh, s.pad_top) < s.in_height;
                for (size_t ow = 0; ow < s.out_width; ++ow) {
                    const size_t iw = source(ow, s.stride_width, kw, s.pad_left);
                    if (row && iw < s.in_width) continue;
                    visit(kh * s.kernel_width + kw, oh * s.out_width + ow);
                }
            }
        }
    }
}

void add_padding_to_outputs(const Conv2dShape& s, const float* weight, float* y) {
    if (kernels().all_finite(s.weight_size(), weight)) return;
    std::vector<float> zeros(s.kernel_height * s.kernel_width * s.out_channels);
    for (size_t row = 0; row < s.window(); ++row) {
        float* sums = &zeros[row / s.group_in() * s.out_channels];
        for (size_t o = 0; o < s.out_channels; ++o) {
            sums[o] += 0.0f * weight[row * s.out_channels + o];
        }
    }
    for_each_on_padding(s, [&](size_t tap, size_t pixel) {
        for (size_t n = 0; n < s.batch; ++n) {
            float* outputs = y + s.output_pixel(n, 0, 0) + pixel * s.out_channels;
            for (size_t o = 0; o < s.out_channels; ++o) {
                outputs[o] += zeros[tap * s.out_channels + o];
            }
        }
    });
}

void add_padding_to_weights(const Conv2dShape& s, const float* dy, float* dweight) {
    if (kernels().all_finite(s.output_size(), dy)) return;
    std::vector<float> zeros(s.out_height * s.out_width * s.out_channels);
    for (size_t i = 0; i < s.output_size(); ++i) zeros[i % zeros.size()] += 0.0f * dy[i];
    for_each_on_padding(s, [&](size_t tap, size_t pixel) {
        for (size_t c = 0; c < s.group_in(); ++c) {
            float* outputs = dweight + (tap * s.group_in() + c) * s.out_channels;
            for (size_t o = 0; o < s.out_channels; ++o) {
                outputs[o] += zeros[pixel * s.out_channels + o];
            }
        }
    });
}

}  // namespace

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
    add_padding_to_outputs(s, weight, y);
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
    add_padding_to_weights(s, dy, dweight);
}

}  // namespace alexnet::cpu::naive
