"""2-D max pooling and its gradient. NHWC.

A window covers pixels of the image only: padding, and what a window of ceil mode reaches beyond
the image, is minus infinity and never wins. NaN wins over everything, as in ``np.max``. The
gradient of a window goes to its first maximum in row-major order (to its first NaN, if it has one).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alexnet import calls
from alexnet.checks import Size2d
from alexnet.reference._arrays import Float64Array, FloatArray, as_float64, check_result, deliver
from alexnet.shapes import Padding, Pool2dShape


def max_pool2d(
    x: FloatArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Maxima of the windows of x (batch, height, width, channels).

    Returns (batch, out_height, out_width, channels); `shapes.pool2d_shape` has the rule, also that
    of `ceil_mode`. Pads must be smaller than the window.
    """
    image = as_float64("max_pool2d", "x", x)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    check_result("max_pool2d", out, shape.output_shape, {"x": x})
    y = np.empty(shape.output_shape)
    for row, column, pixels in _windows(image, shape):
        y[:, row, column, :] = pixels.max(axis=(1, 2))
    return deliver(y, out)


def max_pool2d_backward(
    dy: FloatArray,
    x: FloatArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    through_relu: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Gradient dx, given dy (batch, out_height, out_width, channels) and the input x.

    through_relu: x is a ReLU's output, and the gradient at that ReLU's input is wanted: dx is 0
    where x is not positive, as `relu_backward` has it.
    """
    operator = "max_pool2d_backward"
    gradient = as_float64(operator, "dy", dy)
    image = as_float64(operator, "x", x)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    check_result(operator, out, shape.input_shape, {"dy": dy, "x": x})
    dx = np.zeros(shape.input_shape)
    windows = zip(_windows(image, shape), _windows(dx, shape), strict=True)
    for (row, column, pixels), (_, _, gradients) in windows:
        covered = pixels.shape[1] * pixels.shape[2]
        flat = pixels.reshape(shape.batch, covered, shape.channels)
        first = flat.argmax(axis=1)  # of equal values the first, of NaN too
        winner = np.arange(covered)[:, np.newaxis] == first[:, np.newaxis, :]
        share = np.where(winner, gradient[:, row, column, :][:, np.newaxis, :], 0)
        gradients += share.reshape(pixels.shape)
    return deliver(np.where(image > 0, dx, 0) if through_relu else dx, out)


def _windows(image: Float64Array, shape: Pool2dShape) -> Iterator[tuple[int, int, Float64Array]]:
    """For every output pixel the view of the image that its window covers."""
    for row in range(shape.out_height):
        top = row * shape.stride_height - shape.pad_top
        rows = slice(max(top, 0), min(top + shape.window_height, shape.in_height))
        for column in range(shape.out_width):
            left = column * shape.stride_width - shape.pad_left
            columns = slice(max(left, 0), min(left + shape.window_width, shape.in_width))
            yield row, column, image[:, rows, columns, :]
