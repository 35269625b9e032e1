"""2-D convolution (cross-correlation, as in every network of the field) and its gradients.

    y[n, i, j, k] = bias[k] + sum over (r, s, c) of
                    x[n, i * stride_h + r - top, j * stride_w + s - left, c] * weight[r, s, c, k]

with x zero outside the image. NHWC activations, HWIO weights; with groups, the channels of x and
of y are cut into that many equal runs and run g of y sees run g of x only.

For one kernel tap (r, s) this is a matrix product of the pixels that the tap touches, a strided
window of the padded image, with weight[r, s]. All three directions are loops over taps:
forward adds that product to y, the gradient of x adds dy times the transposed matrix back to the
window, the gradient of the weight is the window, transposed, times dy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from alexnet import calls
from alexnet.checks import CONV2D_ALGORITHMS, Size2d
from alexnet.reference._arrays import (
    Float64Array,
    FloatArray,
    as_float64,
    check_result,
    check_results,
    deliver,
)
from alexnet.shapes import Conv2dShape, Padding


def conv2d_algorithms() -> tuple[str, ...]:
    """Names that `algorithm` takes beside "auto"."""
    return CONV2D_ALGORITHMS


def conv2d(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    out: FloatArray | None = None,
) -> FloatArray:
    """Convolve x (batch, height, width, in) with weight (kernel_h, kernel_w, in / groups, out).

    bias (out,) is added and `activation` "relu" applied to the sum. Returns y (batch, out_height,
    out_width, out) with out_height = floor((height + top + bottom - kernel_h) / stride_h) + 1.
    `algorithm` is "auto" or one of `conv2d_algorithms()`; the reference has one for all names.
    """
    image = as_float64("conv2d", "x", x)
    kernel = as_float64("conv2d", "weight", weight)
    offset = None if bias is None else as_float64("conv2d", "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    check_result("conv2d", out, shape.output_shape, {"x": x, "weight": weight, "bias": bias})

    padded = _pad(image, shape)
    y = np.zeros(shape.output_shape)
    for row, column, window in _taps(padded, shape):
        for ins, outs in _groups(shape):
            y[..., outs] += window[..., ins] @ kernel[row, column, :, outs]
    if offset is not None:
        y += offset
    if activation == "relu":
        y = np.maximum(y, 0)
    return deliver(y, out)


def conv2d_backward_input(
    dy: FloatArray,
    weight: FloatArray,
    input_shape: Sequence[int],
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    out: FloatArray | None = None,
) -> FloatArray:
    """Gradient dx of shape `input_shape`, given dy (batch, out_height, out_width, out)."""
    operator = "conv2d_backward_input"
    gradient = as_float64(operator, "dy", dy)
    kernel = as_float64(operator, "weight", weight)
    shape = calls.check_conv2d_backward_input(
        dy, weight, input_shape, stride, padding, groups, algorithm
    )
    check_result(operator, out, shape.input_shape, {"dy": dy, "weight": weight})

    padded = _pad(np.zeros(shape.input_shape), shape)
    for row, column, window in _taps(padded, shape):
        for ins, outs in _groups(shape):
            window[..., ins] += gradient[..., outs] @ kernel[row, column, :, outs].T
    return deliver(_crop(padded, shape), out)


def conv2d_backward_weight(
    dy: FloatArray,
    x: FloatArray,
    kernel_size: Size2d,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    out: tuple[FloatArray | None, FloatArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Gradients dweight (kernel_h, kernel_w, in / groups, out) and dbias (out,).

    dbias is the sum of dy over batch, height and width. `out` is a pair (dweight, dbias); None
    stands for an array to allocate.
    """
    operator = "conv2d_backward_weight"
    gradient = as_float64(operator, "dy", dy)
    image = as_float64(operator, "x", x)
    shape = calls.check_conv2d_backward_weight(
        dy, x, kernel_size, stride, padding, groups, algorithm
    )
    out_dweight, out_dbias = check_results(
        operator,
        out,
        {"dweight": shape.weight_shape, "dbias": (shape.out_channels,)},
        {"dy": dy, "x": x},
    )

    dweight = np.zeros(shape.weight_shape)
    pixels = gradient.reshape(-1, shape.out_channels)
    for row, column, window in _taps(_pad(image, shape), shape):
        touched = window.reshape(-1, shape.in_channels)
        for ins, outs in _groups(shape):
            dweight[row, column, :, outs] = touched[:, ins].T @ pixels[:, outs]
    return deliver(dweight, out_dweight), deliver(pixels.sum(axis=0), out_dbias)


def _pad(image: Float64Array, shape: Conv2dShape) -> Float64Array:
    vertical, horizontal = (shape.pad_top, shape.pad_bottom), (shape.pad_left, shape.pad_right)
    return np.pad(image, ((0, 0), vertical, horizontal, (0, 0)))


def _crop(padded: Float64Array, shape: Conv2dShape) -> Float64Array:
    rows = slice(shape.pad_top, shape.pad_top + shape.in_height)
    columns = slice(shape.pad_left, shape.pad_left + shape.in_width)
    return padded[:, rows, columns, :].copy()


def _taps(padded: Float64Array, shape: Conv2dShape) -> Iterator[tuple[int, int, Float64Array]]:
    """For every kernel tap the view of the pixels that it touches, of the height and width of y."""
    row_span = (shape.out_height - 1) * shape.stride_height + 1
    column_span = (shape.out_width - 1) * shape.stride_width + 1
    for row in range(shape.kernel_height):
        rows = slice(row, row + row_span, shape.stride_height)
        for column in range(shape.kernel_width):
            columns = slice(column, column + column_span, shape.stride_width)
            yield row, column, padded[:, rows, columns, :]


def _groups(shape: Conv2dShape) -> Iterator[tuple[slice, slice]]:
    """For every group its channels of x and of y."""
    in_size, out_size = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    for group in range(shape.groups):
        yield (
            slice(group * in_size, (group + 1) * in_size),
            slice(group * out_size, (group + 1) * out_size),
        )
