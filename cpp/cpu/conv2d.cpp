// Convolution: empty batches, the bias gradient, the choice of the algorithm, and shapes that are
// mostly padding. The loops are those of the algorithm's own driver.
//
//     asked for     a shape that is mostly padding     any other shape
//
//     naive         naive                              naive
//     im2col        naive                              im2col
//     direct        naive                              dense, where the window covers the input;
//                                                      else direct
//     winograd      naive                              winograd, and direct for what it leaves
//     auto          naive                              winograd where it is faster; else direct

#include "conv2d.h"

#include <algorithm>

#include "alexnet/dense.h"
#include "column_sums.h"
#include "conv2d_axis.h"

namespace alexnet::cpu {
namespace {

// Whether the convolution is a dense layer: its one window covers the whole input, so that the
// weights are the layer's matrix as they lie.
bool is_dense(const Conv2dShape& s) {
    return s.groups == 1 && s.out_height == 1 && s.out_width == 1 && s.pad_top == 0 &&
           s.pad_left == 0 && s.kernel_height == s.in_height && s.kernel_width == s.in_width;
}

DenseShape dense_shape(const Conv2dShape& s) {
    return {.batch = s.batch, .in_features = s.window(), .out_features = s.out_channels};
}

// Whether padding would take most of what an algorithm spends: memory, for images with a border of
// zeros or what is made of them, or work, for products with zeros. All algorithms but naive
// multiply every tap and see the padding as pixels, down to the last that a window reaches. As long
// as this is false they need, for each thread, at most some constant times the memory of an image,
// of its output and of the weights. In double: the size of a frame may be beyond 64 bits.
bool is_mostly_padding(const Conv2dShape& s, ConvDirection direction) {
    constexpr double kMostBorder = 16;       // times an image, its output and the weights
    constexpr double kSmallFrame = 1 << 18;  // floats that are always spared
    constexpr double kMostTaps = 128;        // times those on the image: naive is so much slower
    if (is_dense(s)) return false;
    const bool of_outputs = direction == ConvDirection::kBackwardInput;  // which have the border
    double frame = static_cast<double>(of_outputs ? s.out_channels : s.in_channels);
    double taps = 1, on_image = 1;
    for (const ConvAxis& axis : {vertical_axis(s), horizontal_axis(s)}) {
        const auto in = static_cast<double>(axis.in), out = static_cast<double>(axis.out);
        const auto kernel = static_cast<double>(axis.kernel);
        const auto steps = static_cast<double>(ceil_div(axis.kernel, axis.stride));
        frame *=
            of_outputs ? out + 2 * steps : (out - 1) * static_cast<double>(axis.stride) + kernel;
        taps *= of_outputs ? in * steps : out * kernel;
        on_image *= axis.taps_on_image();
    }
    const Size floats = Size{s.in_height} * s.in_width * s.in_channels +
                        Size{s.out_height} * s.out_width * s.out_channels + s.weight_size();
    return frame > kMostBorder * static_cast<double>(floats) + kSmallFrame ||
           taps > kMostTaps * on_image;
}

// The algorithm that computes the shape where `asked` is asked for.
ConvAlgorithm serving(const Conv2dShape& shape, ConvDirection direction, ConvAlgorithm asked) {
    return is_mostly_padding(shape, direction) ? ConvAlgorithm::kNaive : asked;
}

// The same convolution of an image with one long row, where it is 1 × 1 with stride 1 and so does
// not depend on rows: then most register tiles are full.
Conv2dShape flattened(Conv2dShape s) {
    if (s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 &&
        s.stride_width == 1 && s.pad_top == 0 && s.pad_left == 0 && s.out_height == s.in_height &&
        s.out_width == s.in_width) {
        s.in_width *= s.in_height;
        s.out_width = s.in_width;
        s.in_height = s.out_height = 1;
    }
    return s;
}

}  // namespace

ConvAlgorithm choose_algorithm(const Conv2dShape& shape, ConvDirection direction) {
    const bool winograd = winograd::unsupported(shape, direction) == nullptr && !is_dense(shape) &&
                          winograd::is_faster(shape, direction);
    return serving(shape, direction, winograd ? ConvAlgorithm::kWinograd : ConvAlgorithm::kDirect);
}

const char* unsupported(const Conv2dShape& shape, ConvDirection direction,
                        ConvAlgorithm algorithm) {
    return algorithm == ConvAlgorithm::kWinograd ? winograd::unsupported(shape, direction)
                                                 : nullptr;
}

Size prepared_weight_size(const Conv2dShape& shape, ConvAlgorithm algorithm) {
    if (shape.batch == 0) return Size{0};
    switch (serving(shape, ConvDirection::kForward, algorithm)) {
        case ConvAlgorithm::kDirect:
            return is_dense(shape) ? Size{0} : direct::prepared_weight_size(shape);
        case ConvAlgorithm::kWinograd:
            return winograd::prepared_weight_size(shape);
        default:
            return Size{0};
    }
}

void prepare_weight(const Conv2dShape& shape, const float* weight, ConvAlgorithm algorithm,
                    float* prepared) {
    if (prepared_weight_size(shape, algorithm) == 0) return;
    if (algorithm == ConvAlgorithm::kWinograd) {
        winograd::prepare_weight(shape, weight, prepared);
    } else {
        direct::prepare_weight(shape, weight, prepared);
    }
}

void conv2d(const Conv2dShape& shape, const float* x, const float* weight, const float* bias,
            bool relu, ConvAlgorithm algorithm, float* y, const float* prepared) {
    if (shape.batch == 0) return;
    switch (serving(shape, ConvDirection::kForward, algorithm)) {
        case ConvAlgorithm::kNaive:
            return naive::forward(shape, x, weight, bias, relu, y);
        case ConvAlgorithm::kIm2col:
            return im2col::forward(shape, x, weight, bias, relu, y);
        case ConvAlgorithm::kDirect:
            if (is_dense(shape)) return dense(dense_shape(shape), x, weight, bias, relu, y);
            return direct::forward(flattened(shape), x, weight, bias, relu, y, prepared);
        case ConvAlgorithm::kWinograd:
            return winograd::forward(shape, x, weight, bias, relu, y, prepared);
    }
}

void conv2d_backward_input(const Conv2dShape& shape, const float* dy, const float* weight,
                           ConvAlgorithm algorithm, float* dx) {
    if (shape.batch == 0) return;
    switch (serving(shape, ConvDirection::kBackwardInput, algorithm)) {
        case ConvAlgorithm::kNaive:
            return naive::backward_input(shape, dy, weight, dx);
        case ConvAlgorithm::kIm2col:
            return im2col::backward_input(shape, dy, weight, dx);
        case ConvAlgorithm::kDirect:
            if (is_dense(shape)) return dense_backward_input(dense_shape(shape), dy, weight, dx);
            return direct::backward_input(flattened(shape), dy, weight, dx);
        case ConvAlgorithm::kWinograd:
            return winograd::backward_input(shape, dy, weight, dx);
    }
}

void conv2d_backward_weight(const Conv2dShape& shape, const float* dy, const float* x,
                            ConvAlgorithm algorithm, float* dweight, float* dbias) {
    if (algorithm == ConvAlgorithm::kDirect && is_dense(shape)) {
        return dense_backward_weight(dense_shape(shape), dy, x, dweight, dbias);
    }
    if (shape.batch == 0) {
        std::fill(dweight, dweight + shape.weight_size(), 0.0f);
        std::fill(dbias, dbias + shape.out_channels, 0.0f);
        return;
    }
    const auto sum_bias = [&] {
        column_sums(shape.batch * shape.out_height * shape.out_width, shape.out_channels, dy,
                    dbias);
    };
    switch (serving(shape, ConvDirection::kBackwardWeight, algorithm)) {
        case ConvAlgorithm::kNaive:
            sum_bias();
            return naive::backward_weight(shape, dy, x, dweight);
        case ConvAlgorithm::kIm2col:
            sum_bias();
            return im2col::backward_weight(shape, dy, x, dweight);
        case ConvAlgorithm::kDirect:
            return direct::backward_weight(flattened(shape), dy, x, dweight, dbias);
        case ConvAlgorithm::kWinograd:
            return winograd::backward_weight(shape, dy, x, dweight, dbias);
    }
}

}  // namespace alexnet::cpu
