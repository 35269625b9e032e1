"""Rectified linear unit: y = max(x, 0), on arrays of any shape."""

from __future__ import annotations

import numpy as np

from alexnet import calls
from alexnet.reference._arrays import FloatArray, as_float64, check_result, deliver


def relu(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Return max(x, 0); NaN stays NaN. `out` may be x."""
    values = as_float64("relu", "x", x)
    check_result("relu", out, x.shape, {"x": x}, may_be="x")
    return deliver(np.maximum(values, 0), out)


def relu_backward(dy: FloatArray, y: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Gradient dx: dy where y > 0, else 0. y is ReLU's output or its input. `out` may be dy."""
    operator = "relu_backward"
    gradient = as_float64(operator, "dy", dy)
    outputs = as_float64(operator, "y", y)
    calls.check_relu_backward(dy, y)
    check_result(operator, out, y.shape, {"dy": dy, "y": y}, may_be="dy")
    return deliver(np.where(outputs > 0, gradient, 0), out)
