"""2-D max pooling and its gradient. NHWC.

A window covers pixels of the image only: padding, and what a window of ceil mode reaches beyond
the image, is minus infinity and never wins. NaN wins over everything, as in ``np.max``. The
gradient of a window goes to its first maximum in row-major order (to its first NaN, if it has one).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alexnet.contract import calls
from alexnet.contract.arguments import Size2d
from alexnet.contract.shapes import Padding, Pool2dShape
from alexnet.reference._arrays import (
    Float64Array,
    FloatArray,
    as_float64,
    check_input,
    check_result,
    deliver,
)


def max_pool2d(
    x: FloatArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """2-D max pooling.

        y[n, i, j, c] = max over (r, s) of x[n, i * stride_h + r - top, j * stride_w + s - left, c]

    over the pixels of the window that lie in the image: padding never wins. Arrays are float32 (the
    reference: float64 too, and new results are float64), the inputs with any strides.

    Parameters
    ----------
    x : array (batch, height, width, channels)
        NHWC. Only the batch may be 0.
    window : int or (height, width)
    stride : int or (height, width)
        At least 1; may exceed the window.
    padding : "same", "valid", int or ((top, bottom), (left, right))
        As in `conv2d`; every pad less than the window.
    ceil_mode : bool
        Round the number of outputs up instead of down; see the Notes.
    out : array of y's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    y : array (batch, out_height, out_width, channels)
        out_height = floor((height + top + bottom - window_h) / stride_h) + 1; the width likewise.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        x does not have four axes; the window exceeds the padded image; a pad is not less than the
        window; a parameter is out of range; `out` is not as said above.

    Notes
    -----
    NaN wins over every number, as in ``np.max``. With `ceil_mode` the quotient is rounded up, so
    that a last window may reach beyond the padded image; one that would start beyond the image and
    its leading padding is dropped. This is the rule of PyTorch and Caffe. "same" is TensorFlow's.
    """
    check_input("max_pool2d", "x", x)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    image = as_float64(x)
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
    """Gradient of `max_pool2d` with respect to x.

        dx[n, h, w, c] = sum of dy[n, i, j, c] over the windows (i, j) whose maximum is at (h, w)

    Of equal maxima the first in row-major order takes the gradient; of a window with NaN, the first
    NaN. Arrays are float32 (the reference: float64 too, and new results are float64), the inputs
    with any strides.

    Parameters
    ----------
    dy : array (batch, out_height, out_width, channels)
        Gradient at the output.
    x : array (batch, height, width, channels)
        Input of the forward call: the places of the maxima are found again, not stored.
    window, stride, padding, ceil_mode
        Those of the forward call; see `max_pool2d`.
    through_relu : bool
        x is the output of a ReLU, and the gradient at that ReLU's input is wanted: dx is 0 where x
        is not positive, as from a `relu_backward` afterwards, in the same pass over memory.
    out : array of x's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    dx : array (batch, height, width, channels)

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit each other and the parameters; a parameter is out of range; `out` is not
        as said above.

    Notes
    -----
    The maximum has no derivative where two elements tie; the first one is a convention, and padding
    never takes part.
    """
    operator = "max_pool2d_backward"
    check_input(operator, "dy", dy)
    check_input(operator, "x", x)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    gradient = as_float64(dy)
    image = as_float64(x)
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
