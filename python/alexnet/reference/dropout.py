"""Inverted dropout (Srivastava et al. 2014; scaled in training, so that inference is the identity).

    y_i = x_i * float32(1 / (1 - rate))  if word i >= round(rate * 2 ** 32),  else 0

with word i of the Philox stream (seed, offset), i the row-major index (see `alexnet.random`). The
mask is computed again for the gradient: nothing is stored. A dropped NaN or infinity is 0.
"""

from __future__ import annotations

import numpy as np

from alexnet.contract import calls
from alexnet.random import philox_words
from alexnet.reference._arrays import (
    Float64Array,
    FloatArray,
    as_float64,
    check_input,
    check_result,
    deliver,
)


def dropout(
    x: FloatArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: FloatArray | None = None,
) -> FloatArray:
    """Inverted dropout: zero each element with probability `rate` and scale up the others.

        y[i] = x[i] * float32(1 / (1 - rate))  if word i >= round(rate * 2 ** 32),  else 0

    with i the row-major index and word i that of the random stream (seed, offset) below. Arrays are
    float32 (the reference: float64 too, and new results are float64), the inputs with any strides.

    Parameters
    ----------
    x : array of any shape
    rate : float
        Probability of dropping, 0 <= rate < 1.
    seed, offset : int
        The stream, each in [0, 2 ** 64). Take another `offset` for every layer and step: the same
        pair gives the same mask, on every implementation.
    out : array of x's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; x itself, or without overlap
        with it. Filled and returned; a new array where it is None.

    Returns
    -------
    y : array of x's shape
        A dropped NaN or infinity is 0.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        A parameter is out of range, or `out` is not as said above.

    Notes
    -----
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014,
    scaled in training instead of at inference, which is then the identity. Words are
    Philox4x32-10's (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): word i is
    number i % 4 of the four for the block b = i // 4, with the halves low first

        counter = (b low, b high, offset low, offset high),  key = (seed low, seed high).
    """
    check_input("dropout", "x", x)
    threshold = calls.check_dropout("dropout", rate, seed, offset)
    values = as_float64(x)
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
    """Gradient of `dropout`: its mask and scale, applied to dy.

        dx[i] = dy[i] * float32(1 / (1 - rate))  if word i >= round(rate * 2 ** 32),  else 0

    The mask is computed again from `seed` and `offset`: nothing is stored. Arrays are float32 (the
    reference: float64 too, and new results are float64), the inputs with any strides.

    Parameters
    ----------
    dy : array of any shape
    rate, seed, offset
        Those of the forward call; see `dropout`, also for what word i is.
    out : array of dy's shape, optional
        float32 (the reference: float64 too), C-contiguous, writeable; dy itself, or without overlap
        with it. Filled and returned; a new array where it is None.

    Returns
    -------
    dx : array of dy's shape

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        A parameter is out of range, or `out` is not as said above.

    Notes
    -----
    Srivastava et al. 2014; random words from Philox4x32-10, Salmon et al. 2011, as in `dropout`.
    """
    operator = "dropout_backward"
    check_input(operator, "dy", dy)
    threshold = calls.check_dropout(operator, rate, seed, offset)
    gradient = as_float64(dy)
    check_result(operator, out, dy.shape, {"dy": dy}, may_be="dy")
    return deliver(_mask(gradient, rate, threshold, seed, offset), out)


def _mask(
    values: Float64Array, rate: float, threshold: int, seed: int, offset: int
) -> Float64Array:
    words = philox_words(seed, offset, values.size).reshape(values.shape)
    scale = float(np.float32(1 / (1 - float(rate))))
    return np.where(words >= np.uint64(threshold), values * scale, 0)
