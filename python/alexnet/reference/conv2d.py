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

from alexnet.contract import calls
from alexnet.contract.arguments import CONV2D_ALGORITHMS, Size2d
from alexnet.contract.shapes import Conv2dShape, Padding
from alexnet.reference._arrays import (
    Float64Array,
    FloatArray,
    as_float64,
    check_input,
    check_result,
    check_results,
    deliver,
)


def conv2d_algorithms() -> tuple[str, ...]:
    """Names that the `algorithm` of the convolutions takes beside "auto".

    Returns
    -------
    tuple of str
        ("naive", "im2col", "direct", "winograd"); the Notes of `conv2d` say what sets them apart.
    """
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
    """2-D convolution (a cross-correlation: the kernel is not flipped), with bias and ReLU fused.

        y[n, i, j, k] = bias[k] + sum over (r, s, c) of
                  x[n, i * stride_h + r - top, j * stride_w + s - left, c] * weight[r, s, c, k]

    with x zero outside the image. Arrays are float32 (the reference: float64 too, and new results
    are float64), the inputs with any strides.

    Parameters
    ----------
    x : array (batch, height, width, in)
        Image, NHWC. Only the batch may be 0.
    weight : array (kernel_h, kernel_w, in / groups, out)
        Kernel, HWIO.
    bias : array (out,), optional
    stride : int or (height, width)
        At least 1; may exceed the kernel.
    padding : "same", "valid", int or ((top, bottom), (left, right))
        Zeros around the image. "same" is TensorFlow's: along an axis, max(0, (ceil(in / stride) -
        1) * stride + kernel - in) pixels in total, half of them before and the odd one after, which
        gives ceil(in / stride) outputs. "valid" is 0.
    groups : int
        Divides in and out: run g of the channels of y sees run g of the channels of x only.
    activation : None or "relu"
        Applied to the sum with the bias.
    algorithm : str
        "auto" or one of `conv2d_algorithms()`.
    out : array of y's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    y : array (batch, out_height, out_width, out)
        out_height = floor((height + top + bottom - kernel_h) / stride_h) + 1; the width likewise.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit or the kernel exceeds the padded image; a parameter is out of range; `out`
        is not as said above; `algorithm` is unknown or cannot serve this shape (the text says why).
    MemoryError
        There is not as much memory as the result or its computation takes.

    Notes
    -----
    "naive", "im2col" and "direct" have a relative L2 error of 1e-7 to 5e-7. "winograd" (Lavin and
    "naive", "im2col" and "direct" have a relative L2 error of 1e-7 to 5e-7. "winograd" (Lavin and
    Gray, arXiv 1509.09308) has 2e-6 to 5e-6, relative to the largest values in the reach of a tile
    of up to 6x6 outputs (8x8 pixels), not to those that an output sees. So "direct" computes, also
    where "winograd" is asked for: an image in which an output's window, if not all 0, has less than
    1/1024 of the largest magnitude in the tile's reach, and an image whose result is not finite.
    That bounds the error of a pixel over all channels; a single channel may still be small beside
    others, and weights far larger than the rest hide what the others contribute. It serves equal
    strides, and kernels that span 2 to 6 strides each way; with a stride, one group only. "auto"
    decides by the shape alone: "winograd" where a count of operations promises it to be faster
    (cpp/cpu/winograd_choice.cpp), else "direct". Where padding would take most of the memory or of
    the work, "naive" computes whatever was asked for, so that both go with x, y and weight
    (cpp/cpu/conv2d.cpp). The reference computes every choice the same way and refuses none.

    NaN and infinity are where IEEE arithmetic on the formula has them, with every algorithm. The
    zeros of the padding are multiplied like any other: with a weight that is NaN or infinite they
    make NaN. A NaN has the same bits for every number of threads, which bits is not specified.
    """
    check_input("conv2d", "x", x)
    check_input("conv2d", "weight", weight)
    if bias is not None:
        check_input("conv2d", "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    image = as_float64(x)
    kernel = as_float64(weight)
    offset = None if bias is None else as_float64(bias)
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
    """Gradient of `conv2d` with respect to x.

        dx[n, h, w, c] = sum of dy[n, i, j, k] * weight[r, s, c, k] over all (i, j, k, r, s) with
                         i * stride_h + r - top = h and j * stride_w + s - left = w

    (k runs over the group of c.) Arrays are float32 (the reference: float64 too, and new results
    are float64), the inputs with any strides.

    Parameters
    ----------
    dy : array (batch, out_height, out_width, out)
        Gradient at the output, before bias and activation: the mask of a fused ReLU is the caller's
        to apply, with `relu_backward`.
    weight : array (kernel_h, kernel_w, in / groups, out)
    input_shape : tuple or list of 4 ints
        (batch, height, width, in) of x; with a stride, the shape of dy does not determine it.
    stride, padding, groups
        Those of the forward call; see `conv2d`.
    algorithm : str
        "auto" or one of `conv2d_algorithms()`; see the Notes.
    out : array of shape `input_shape`, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    dx : array of shape `input_shape`

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit each other and the parameters; a parameter is out of range; `out` is not
        as said above; `algorithm` is unknown or cannot serve this shape (the text says why).

    Notes
    -----
    The chain rule on the formula of `conv2d`; choice and errors of the algorithms are as there.
    "winograd" serves stride 1 only here, padding at the top and left smaller than the kernel, and
    kernels of 2 to 6 each way; its tiles are of dx, their reach is in dy. The sum has outputs that
    exist only, so a weight that is NaN or infinite reaches no dx but through a dy. (On a GPU dy is
    surrounded by zeros, which are multiplied: such a weight reaches the border of dx as well.)
    """
    operator = "conv2d_backward_input"
    check_input(operator, "dy", dy)
    check_input(operator, "weight", weight)
    shape = calls.check_conv2d_backward_input(
        dy, weight, input_shape, stride, padding, groups, algorithm
    )
    gradient = as_float64(dy)
    kernel = as_float64(weight)
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
    """Gradients of `conv2d` with respect to weight and bias.

        dweight[r, s, c, k] = sum over (n, i, j) of
                  x[n, i * stride_h + r - top, j * stride_w + s - left, c] * dy[n, i, j, k]
        dbias[k] = sum over (n, i, j) of dy[n, i, j, k]

    with x zero outside the image; both are sums over the batch, and 0 for an empty one. Arrays are
    float32 (the reference: float64 too, and new results are float64), the inputs with any strides.

    Parameters
    ----------
    dy : array (batch, out_height, out_width, out)
        Gradient at the output, before bias and activation: the mask of a fused ReLU is the caller's
        to apply, with `relu_backward`.
    x : array (batch, height, width, in)
        Input of the forward call.
    kernel_size : int or (height, width)
    stride, padding, groups
        Those of the forward call; see `conv2d`.
    algorithm : str
        "auto" or one of `conv2d_algorithms()`; see the Notes of `conv2d`.
    out : tuple (dweight, dbias), optional
        Each None, or an array of the shape below: float32 (the reference: float64 too),
        C-contiguous, writeable, overlapping neither an input nor the other. Filled and returned; a
        new array for each None.

    Returns
    -------
    dweight : array (kernel_h, kernel_w, in / groups, out)
    dbias : array (out,)

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit each other and the parameters; a parameter is out of range; `out` is not
        as said above; `algorithm` is unknown or cannot serve this shape (the text says why).

    Notes
    -----
    The chain rule on the formula of `conv2d`; choice, limits and errors of the algorithms are as
    there. As all images are summed up, "direct" computes the whole call where one image of x has a
    window, or one of dy half a tile, of less than 1/1024 of the tile's largest magnitude, or where
    a gradient is not finite. The zeros of the padding are multiplied: with a dy that is NaN or
    infinite they make NaN.
    """
    operator = "conv2d_backward_weight"
    check_input(operator, "dy", dy)
    check_input(operator, "x", x)
    shape = calls.check_conv2d_backward_weight(
        dy, x, kernel_size, stride, padding, groups, algorithm
    )
    gradient = as_float64(dy)
    image = as_float64(x)
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
