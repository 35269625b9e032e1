"""Dense (fully connected) layer and its gradients.

y = x @ weight + bias;   dx = dy @ weight.T;   dweight = x.T @ dy;   dbias = sum of dy over batch.
"""

from __future__ import annotations

import numpy as np

from alexnet.contract import calls
from alexnet.reference._arrays import (
    FloatArray,
    as_float64,
    check_input,
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
    """Dense (fully connected) layer, y = x @ weight + bias, with ReLU fused.

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    x : array (batch, in)
        Only the batch may be 0.
    weight : array (in, out)
    bias : array (out,), optional
    activation : None or "relu"
        Applied to the sum with the bias.
    out : array (batch, out), optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    y : array (batch, out)

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit, an extent other than the batch is 0, `activation` is unknown, or `out` is
        not as said above.

    Notes
    -----
    The weight is laid out (in, out) as in TensorFlow; PyTorch's (out, in) is its transpose.
    """
    check_input("dense", "x", x)
    check_input("dense", "weight", weight)
    if bias is not None:
        check_input("dense", "bias", bias)
    shape = calls.check_dense(x, weight, bias, activation)
    matrix = as_float64(x)
    kernel = as_float64(weight)
    offset = None if bias is None else as_float64(bias)
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
    """Gradient of `dense` with respect to x, dx = dy @ weight.T.

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    dy : array (batch, out)
        Gradient at the output, before bias and activation: the mask of a fused ReLU is the caller's
        to apply, with `relu_backward`.
    weight : array (in, out)
    out : array (batch, in), optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    dx : array (batch, in)

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit, an extent other than the batch is 0, or `out` is not as said above.

    Notes
    -----
    The chain rule on y = x @ weight + bias.
    """
    operator = "dense_backward_input"
    check_input(operator, "dy", dy)
    check_input(operator, "weight", weight)
    shape = calls.check_dense_backward_input(dy, weight)
    gradient = as_float64(dy)
    kernel = as_float64(weight)
    check_result(operator, out, shape.input_shape, {"dy": dy, "weight": weight})
    return deliver(gradient @ kernel.T, out)


def dense_backward_weight(
    dy: FloatArray,
    x: FloatArray,
    *,
    out: tuple[FloatArray | None, FloatArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Gradients of `dense`: dweight = x.T @ dy, and dbias, the sum of dy over the batch.

    Both are 0 for an empty batch. Arrays are float32 (the reference: float64 too, and new results
    are float64), the inputs with any strides.

    Parameters
    ----------
    dy : array (batch, out)
        Gradient at the output, before bias and activation: the mask of a fused ReLU is the caller's
        to apply, with `relu_backward`.
    x : array (batch, in)
        Input of the forward call.
    out : tuple (dweight, dbias), optional
        Each None, or an array of the shape below: float32 (the reference: float64 too),
        C-contiguous, writeable, overlapping neither an input nor the other. Filled and returned; a
        new array for each None.

    Returns
    -------
    dweight : array (in, out)
    dbias : array (out,)

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit, an extent other than the batch is 0, or `out` is not as said above.

    Notes
    -----
    The chain rule on y = x @ weight + bias.
    """
    operator = "dense_backward_weight"
    check_input(operator, "dy", dy)
    check_input(operator, "x", x)
    shape = calls.check_dense_backward_weight(dy, x)
    gradient = as_float64(dy)
    matrix = as_float64(x)
    out_dweight, out_dbias = check_results(
        operator,
        out,
        {"dweight": shape.weight_shape, "dbias": (shape.out_features,)},
        {"dy": dy, "x": x},
    )
    return deliver(matrix.T @ gradient, out_dweight), deliver(gradient.sum(axis=0), out_dbias)
