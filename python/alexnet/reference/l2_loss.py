"""Half the sum of squares, as ``tf.nn.l2_loss``, and its gradient, on arrays of any shape."""

from __future__ import annotations

import numpy as np

from alexnet.reference._arrays import FloatArray, as_float64, check_input, check_result, deliver


def l2_loss(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Half the sum of squares, sum(x ** 2) / 2.

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    x : array of any shape
    out : array without axes, optional
        float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input. Filled and
        returned; a new array where it is None.

    Returns
    -------
    loss : array without axes
        0 for an empty x.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        `out` is not as said above.

    Notes
    -----
    The definition of ``tf.nn.l2_loss``: a sum, not a mean. Its gradient is x.
    """
    check_input("l2_loss", "x", x)
    values = as_float64(x)
    check_result("l2_loss", out, (), {"x": x})
    return deliver(np.asarray(np.sum(values**2) / 2), out)


def l2_loss_backward(x: FloatArray, *, out: FloatArray | None = None) -> FloatArray:
    """Gradient of `l2_loss` with respect to x: a copy of x.

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    x : array of any shape
        Input of the forward call.
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
        `out` is not as said above.

    Notes
    -----
    The derivative of sum(x ** 2) / 2, the definition of ``tf.nn.l2_loss``.
    """
    check_input("l2_loss_backward", "x", x)
    values = as_float64(x)
    check_result("l2_loss_backward", out, x.shape, {"x": x})
    return deliver(values.copy(), out)
