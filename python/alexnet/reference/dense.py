"""Dense (fully connected) layer and its gradients.

y = x @ weight + bias;   dx = dy @ weight.T;   dweight = x.T @ dy;   dbias = sum of dy over batch.
"""

from __future__ import annotations

import numpy as np

from alexnet import calls
from alexnet.reference._arrays import (
    FloatArray,
    as_float64,
    check_result,
    check_results,
    deliver,
)


def dense(
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None = None,
    *,
    activation: str | None = None,
    out: FloatArray | None = None,
) -> FloatArray:
    """Multiply x (batch, in) by weight (in, out), add bias (out,), apply `activation` "relu"."""
    matrix = as_float64("dense", "x", x)
    kernel = as_float64("dense", "weight", weight)
    offset = None if bias is None else as_float64("dense", "bias", bias)
    shape = calls.check_dense(x, weight, bias, activation)
    check_result("dense", out, shape.output_shape, {"x": x, "weight": weight, "bias": bias})

    y = matrix @ kernel
    if offset is not None:
        y += offset
    if activation == "relu":
        y = np.maximum(y, 0)
    return deliver(y, out)


def dense_backward_input(
    dy: FloatArray, weight: FloatArray, *, out: FloatArray | None = None
) -> FloatArray:
    """Gradient dx (batch, in), given dy (batch, out) and weight (in, out)."""
    operator = "dense_backward_input"
    gradient = as_float64(operator, "dy", dy)
    kernel = as_float64(operator, "weight", weight)
    shape = calls.check_dense_backward_input(dy, weight)
    check_result(operator, out, shape.input_shape, {"dy": dy, "weight": weight})
    return deliver(gradient @ kernel.T, out)


def dense_backward_weight(
    dy: FloatArray,
    x: FloatArray,
    *,
    out: tuple[FloatArray | None, FloatArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Gradients dweight (in, out) and dbias (out,), given dy (batch, out) and x (batch, in).

    `out` is a pair (dweight, dbias); None stands for an array to allocate.
    """
    operator = "dense_backward_weight"
    gradient = as_float64(operator, "dy", dy)
    matrix = as_float64(operator, "x", x)
    shape = calls.check_dense_backward_weight(dy, x)
    out_dweight, out_dbias = check_results(
        operator,
        out,
        {"dweight": shape.weight_shape, "dbias": (shape.out_features,)},
        {"dy": dy, "x": x},
    )
    return deliver(matrix.T @ gradient, out_dweight), deliver(gradient.sum(axis=0), out_dbias)
