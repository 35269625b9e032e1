"""Rectified linear unit: y = max(x, 0), on arrays of any shape."""

from __future__ import annotations

import numpy as np

from alexnet.contract import calls
from alexnet.reference._arrays import FloatArray, as_float64, check_input, check_result, deliver


def relu(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Rectified linear unit, y = max(x, 0), element by element.

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    x : array of any shape
    out : array of x's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; x itself, or without overlap
        with it. Filled and returned; a new array where it is None.

    Returns
    -------
    y : array of x's shape
        NaN stays NaN.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        `out` is not as said above.

    Notes
    -----
    Nair and Hinton 2010; Krizhevsky et al. 2012, section 3.1. NaN as in ``np.maximum(x, 0)``.
    """
    check_input("relu", "x", x)
    values = as_float64(x)
    check_result("relu", out, x.shape, {"x": x}, may_be="x")
    return deliver(np.maximum(values, 0), out)


def relu_backward(dy: FloatArray, y: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Gradient of `relu`: dx = dy where y > 0, else 0.

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    dy : array of any shape
        Gradient at the output.
    y : array of dy's shape
        Output of the forward call, or its input: both are positive in the same places.
    out : array of dy's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; dy itself, or else without
        overlap with an input. Filled and returned; a new array where it is None.

    Returns
    -------
    dx : array of dy's shape

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes differ, or `out` is not as said above.

    Notes
    -----
    The derivative at 0 is taken as 0, the usual convention, and so it is where y is NaN.
    """
    operator = "relu_backward"
    check_input(operator, "dy", dy)
    check_input(operator, "y", y)
    calls.check_relu_backward(dy, y)
    gradient = as_float64(dy)
    outputs = as_float64(y)
    check_result(operator, out, y.shape, {"dy": dy, "y": y}, may_be="dy")
    return deliver(np.where(outputs > 0, gradient, 0), out)
