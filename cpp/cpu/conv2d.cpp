// Convolution: empty batches, the bias gradient, the choice of the algorithm, and shapes that are
// mostly padding. The loops are those of the algorithm's own driver.
//
//     asked for     a shape that is mostly padding     any other shape
//
//     naive         naive                              naive
//     im2col        naive                              im2col
//     direct        naive                              without the taps that meet padding alone:
//                                                      dense, where the window covers the input;
//                                                      else direct
//     winograd      naive                              winograd, and direct for what it leaves
//     auto          naive                              winograd where it is faster; else direct

#include "conv2d.h"

#include <algorithm>
#include <atomic>

#include "alexnet/dense.h"
#include "column_sums.h"
#include "conv2d_axis.h"
#include "dispatch.h"
#include "parallel.h"

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

// The same convolution without the taps that meet nothing but padding, such as all but the middle
// one of 3 × 3 over a single pixel. What is left of the weights is contiguous: whole rows of the
// window, or a part of a single one.
struct Trimmed {
    explicit Trimmed(const Conv2dShape& s) : shape(s) {
        const Range rows = taps_on_image(vertical_axis(s));
        const Range columns =
            rows.size() == 1 ? taps_on_image(horizontal_axis(s)) : Range{0, s.kernel_width};
        if (rows.size() == 0 || columns.size() == 0) return;
        shape.kernel_height = rows.size();
        shape.kernel_width = columns.size();
        shape.pad_top -= rows.begin;
        shape.pad_left -= columns.begin;
        begin = (rows.begin * s.kernel_width + columns.begin) * s.group_in() * s.out_channels;
        end = begin + shape.weight_size();
        differs = shape.weight_size() < s.weight_size();
    }
    // From the first to the last tap that some output has on the image.
    static Range taps_on_image(const ConvAxis& axis) {
        Range taps{0, axis.kernel};
        while (taps.size() > 0 && axis.outputs_of_tap(taps.begin).size() == 0) ++taps.begin;
        while (taps.size() > 0 && axis.outputs_of_tap(taps.end - 1).size() == 0) --taps.end;
        return taps;
    }

    Conv2dShape shape;
    size_t begin = 0, end = 0;  // of the weights that are left
    bool differs = false;
};

bool all_finite(size_t n, const float* x) {
    const KernelTable& k = kernels();
    std::atomic<bool> finite = true;
    parallel_for(n, size_t{1} << 16, [&](size_t begin, size_t end) {
        if (!k.all_finite(end - begin, x + begin)) finite = false;
    });
    return finite;
}

void fill_zeros(size_t n, float* y) {
    parallel_for(n, size_t{1} << 16,
                 [&](size_t begin, size_t end) { std::fill(y + begin, y + end, 0.0f); });
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

// What the direct algorithm stands for. Zeros of the padding times weights or gradients that are not
// finite are NaN: where there are such, no tap is left out.
void forward(const Conv2dShape& whole, const float* x, const float* weight, const float* bias,
             bool relu, float* y, const float* prepared) {
    const Trimmed t(whole);
    const bool trim = t.differs && all_finite(t.begin, weight) &&
                      all_finite(whole.weight_size() - t.end, weight + t.end);
    const Conv2dShape& s = trim ? t.shape : whole;
    if (trim) weight += t.begin;
    if (is_dense(s)) return dense(dense_shape(s), x, weight, bias, relu, y);
    direct::forward(flattened(s), x, weight, bias, relu, y, prepared);
}

void backward_input(const Trimmed& t, const float* dy, const float* weight, float* dx) {
    weight += t.begin;
    if (is_dense(t.shape)) return dense_backward_input(dense_shape(t.shape), dy, weight, dx);
    direct::backward_input(flattened(t.shape), dy, weight, dx);
}

void backward_weight(const Conv2dShape& whole, const float* dy, const float* x, float* dweight,
                     float* dbias) {
    const Trimmed t(whole);
    const bool trim = t.differs && all_finite(whole.output_size(), dy);
    const Conv2dShape& s = trim ? t.shape : whole;
    if (trim) {
        fill_zeros(t.begin, dweight);
        fill_zeros(whole.weight_size() - t.end, dweight + t.end);
        dweight += t.begin;
    }
    if (is_dense(s)) return dense_backward_weight(dense_shape(s), dy, x, dweight, dbias);
    direct::backward_weight(flattened(s), dy, x, dweight, dbias);
}

}  // namespace

ConvAlgorithm choose_algorithm(const Conv2dShape& shape, ConvDirection direction) {
    const bool winograd = winograd::unsupported(shape, direction) == nullptr && !is_dense(shape) &&
                          !Trimmed(shape).differs && winograd::is_faster(shape, direction);
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
            // Whether taps are left out depends on the weights' values.
            if (is_dense(shape) || Trimmed(shape).differs) return Size{0};
            return direct::prepared_weight_size(flattened(shape));
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
        direct::prepare_weight(flattened(shape), weight, prepared);
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
            return forward(shape, x, weight, bias, relu, y, prepared);
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
            return backward_input(Trimmed(shape), dy, weight, dx);
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
            return backward_weight(shape, dy, x, dweight, dbias);
        case ConvAlgorithm::kWinograd:
            return winograd::backward_weight(shape, dy, x, dweight, dbias);
    }
}

}  // namespace alexnet::cpu
