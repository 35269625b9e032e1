"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    s_c = bias + alpha * sum of x_c' ** 2 over |c' - c| <= depth_radius       y = x * s ** -beta

This is TensorFlow's form: alpha multiplies the sum. Caffe, PyTorch and ONNX divide alpha by the
size of the window; their alpha is (2 * depth_radius + 1) times this one. The paper has bias 2,
depth_radius 2 (a window of 5), alpha 1e-4, beta 0.75, and does not divide.
"""

from __future__ import annotations

import numpy as np

from alexnet.contract import calls
from alexnet.contract.arguments import plain
from alexnet.reference._arrays import (
    Float64Array,
    FloatArray,
    as_float64,
    check_input,
    check_result,
    deliver,
)


def lrn(
    x: FloatArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    out: FloatArray | None = None,
) -> FloatArray:
    """Local response normalisation across channels.

        y[..., c] = x[..., c] / s[..., c] ** beta
        s[..., c] = bias + alpha * sum of x[..., c'] ** 2 over the channels |c' - c| <= depth_radius

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    x : array (batch, ..., channels)
        Two axes or more. Only the batch may be 0.
    depth_radius : int
        At least 0: a window of 2 * depth_radius + 1 channels, cut off at the first and last
        channel.
    bias : float
        Greater than 0.
    alpha, beta : float
        Finite.
    out : array of x's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    y : array of x's shape

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        x has fewer than two axes or an empty one beside the batch; a parameter is out of range or
        not finite; `out` is not as said above.

    Notes
    -----
    Krizhevsky et al. 2012, section 3.3, in the form of ``tf.nn.local_response_normalization``,
    whose defaults these are: alpha multiplies the sum. The paper does the same and has bias 2,
    depth_radius 2 (a window of 5), alpha 1e-4, beta 0.75. Caffe, PyTorch and ONNX take the size of
    the window and divide alpha by it: for their (size, alpha), pass depth_radius = (size - 1) / 2
    and alpha / size.
    """
    check_input("lrn", "x", x)
    calls.check_lrn(x, depth_radius, bias, alpha, beta)
    values = as_float64(x)
    depth_radius, bias, alpha, beta = plain((depth_radius, bias, alpha, beta))
    check_result("lrn", out, x.shape, {"x": x})
    scale = bias + alpha * _window_sum(values**2, depth_radius)
    return deliver(values * _power(scale, -beta), out)


def lrn_backward(
    dy: FloatArray,
    x: FloatArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    through_relu: bool = False,
    out: FloatArray | None = None,
) -> FloatArray:
    """Gradient of `lrn` with respect to x.

        dx[c] = dy[c] * s[c] ** -beta
                - 2 * alpha * beta * x[c] * sum of dy[c'] * x[c'] * s[c'] ** (-beta - 1)

    for every pixel, over |c' - c| <= depth_radius, with s of `lrn`, computed again from x. Arrays
    are float32 (the reference: float64 too, and new results are float64), the inputs with any
    strides.

    Parameters
    ----------
    dy : array of x's shape
        Gradient at the output.
    x : array (batch, ..., channels)
        Input of the forward call.
    depth_radius, bias, alpha, beta
        Those of the forward call; see `lrn`, also for their conversion from other frameworks.
    through_relu : bool
        x is the output of a ReLU, and the gradient at that ReLU's input is wanted: dx is 0 where x
        is not positive, as from a `relu_backward` afterwards, in the same pass over memory.
    out : array of x's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    dx : array of x's shape

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes differ or are not those of `lrn`; a parameter is out of range or not finite; `out` is
        not as said above.

    Notes
    -----
    The chain rule on Krizhevsky et al. 2012, section 3.3: x[c] reaches y[c] directly, and every
    y[c'] of its window through s[c'].
    """
    check_input("lrn_backward", "dy", dy)
    check_input("lrn_backward", "x", x)
    calls.check_lrn_backward(dy, x, depth_radius, bias, alpha, beta, through_relu)
    gradient = as_float64(dy)
    values = as_float64(x)
    depth_radius, bias, alpha, beta = plain((depth_radius, bias, alpha, beta))
    check_result("lrn_backward", out, x.shape, {"dy": dy, "x": x})
    scale = bias + alpha * _window_sum(values**2, depth_radius)
    cross_terms = _window_sum(gradient * values * _power(scale, -beta - 1), depth_radius)
    dx = gradient * _power(scale, -beta) - 2 * alpha * beta * values * cross_terms
    return deliver(np.where(values > 0, dx, 0) if through_relu else dx, out)


def _power(base: Float64Array, exponent: float) -> Float64Array:
    """Raise to a power as C does; NumPy's `**` takes sqrt for 0.5, which is NaN of -infinity."""
    return np.float_power(base, exponent)


def _window_sum(values: Float64Array, depth_radius: int) -> Float64Array:
    """Sum over the channels c' with |c' - c| <= depth_radius that exist, for every channel c."""
    channels = values.shape[-1]
    total = np.empty_like(values)
    for channel in range(channels):
        first, last = max(0, channel - depth_radius), min(channels, channel + depth_radius + 1)
        total[..., channel] = values[..., first:last].sum(axis=-1)
    return total
