"""Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    s_c = bias + alpha * sum of x_c' ** 2 over |c' - c| <= depth_radius       y = x * s ** -beta

This is TensorFlow's form: alpha multiplies the sum. Caffe, PyTorch and ONNX divide alpha by the
size of the window; their alpha is (2 * depth_radius + 1) times this one. The paper has bias 2,
depth_radius 2 (a window of 5), alpha 1e-4, beta 0.75, and does not divide.
"""

from __future__ import annotations

import numpy as np

from alexnet import calls
from alexnet.reference._arrays import Float64Array, FloatArray, as_float64, check_result, deliver


def lrn(
    x: FloatArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    out: FloatArray | None = None,
) -> FloatArray:
    """Normalise x (batch, ..., channels). Integer depth_radius >= 0; bias > 0, all finite."""
    values = as_float64("lrn", "x", x)
    calls.check_lrn(x, depth_radius, bias, alpha, beta)
    check_result("lrn", out, x.shape, {"x": x})
    scale = bias + alpha * _window_sum(values**2, depth_radius)
    return deliver(values * scale**-beta, out)


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
    """Gradient dx, given dy and the input x of the forward call; s is computed again.

    x_c reaches y_c directly and every y_c' of its window through s_c':
    dx_c = dy_c * s_c ** -beta - 2 * alpha * beta * x_c * sum of dy_c' * x_c' * s_c' ** (-beta - 1).

    through_relu: x is a ReLU's output, and the gradient at that ReLU's input is wanted: dx_c is 0
    where x_c is not positive, as `relu_backward` has it.
    """
    gradient = as_float64("lrn_backward", "dy", dy)
    values = as_float64("lrn_backward", "x", x)
    calls.check_lrn_backward(dy, x, depth_radius, bias, alpha, beta, through_relu)
    check_result("lrn_backward", out, x.shape, {"dy": dy, "x": x})
    scale = bias + alpha * _window_sum(values**2, depth_radius)
    shared = _window_sum(gradient * values * scale ** (-beta - 1), depth_radius)
    dx = gradient * scale**-beta - 2 * alpha * beta * values * shared
    return deliver(np.where(values > 0, dx, 0) if through_relu else dx, out)


def _window_sum(values: Float64Array, depth_radius: int) -> Float64Array:
    """Sum over the channels c' with |c' - c| <= depth_radius that exist, for every channel c."""
    channels = values.shape[-1]
    total = np.empty_like(values)
    for channel in range(channels):
        first, last = max(0, channel - depth_radius), min(channels, channel + depth_radius + 1)
        total[..., channel] = values[..., first:last].sum(axis=-1)
    return total
