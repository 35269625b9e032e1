"""Inverted dropout (Srivastava et al. 2014; scaled in training, so that inference is the identity).

    y_i = x_i * float32(1 / (1 - rate))  if word i >= round(rate * 2 ** 32),  else 0

with word i of the Philox stream (seed, offset), i the row-major index (see `alexnet.random`). The
mask is computed again for the gradient: nothing is stored. A dropped NaN or infinity is 0.
"""

from __future__ import annotations

import numpy as np

from alexnet import calls
from alexnet.random import philox_words
from alexnet.reference._arrays import Float64Array, FloatArray, as_float64, check_result, deliver


def dropout(
    x: FloatArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Drop elements of x, of any shape, with probability 0 <= rate < 1. `out` may be x."""
    values = as_float64("dropout", "x", x)
    threshold = calls.check_dropout("dropout", rate, seed, offset)
    check_result("dropout", out, x.shape, {"x": x}, may_be="x")
    return deliver(_mask(values, rate, threshold, seed, offset), out)


def dropout_backward(
    dy: FloatArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Gradient dx: the same mask and scale applied to dy. `out` may be dy."""
    operator = "dropout_backward"
    gradient = as_float64(operator, "dy", dy)
    threshold = calls.check_dropout(operator, rate, seed, offset)
    check_result(operator, out, dy.shape, {"dy": dy}, may_be="dy")
    return deliver(_mask(gradient, rate, threshold, seed, offset), out)


def _mask(
    values: Float64Array, rate: float, threshold: int, seed: int, offset: int
) -> Float64Array:
    words = philox_words(seed, offset, values.size).reshape(values.shape)
    scale = float(np.float32(1 / (1 - rate)))
    return np.where(words >= np.uint64(threshold), values * scale, 0)
