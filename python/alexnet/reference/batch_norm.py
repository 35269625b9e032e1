"""Batch normalisation (Ioffe and Szegedy 2015, algorithms 1 and 2) and its gradients.

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta      for each channel

x (batch, ..., channels); the statistics run over all axes but the last, n numbers a channel, and
the variance is the biased one (divided by n).
"""

from __future__ import annotations

import numpy as np

from alexnet.contract import calls
from alexnet.contract.arguments import plain
from alexnet.reference._arrays import (
    FloatArray,
    as_float64,
    check_input,
    check_result,
    check_results,
    deliver,
)


def batch_norm(
    x: FloatArray,
    gamma: FloatArray,
    beta: FloatArray,
    *,
    mean: FloatArray | None = None,
    variance: FloatArray | None = None,
    epsilon: float = 1e-5,
    activation: str | None = None,
    out: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Batch normalisation, with ReLU fused.

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta      for each channel

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    x : array (batch, ..., channels)
        Two axes or more. Only the batch may be 0.
    gamma, beta : array (channels,)
        Scale and shift.
    mean, variance : array (channels,), optional
        Both None: training, with the statistics of x over all axes but the last. Both given:
        inference, with these.
    epsilon : float
        Greater than 0.
    activation : None or "relu"
        Applied to y.
    out : array of x's shape, optional
        For y: float32 (the reference: float64 too), C-contiguous, writeable; overlaps no input.
        Filled and returned; a new array where it is None.

    Returns
    -------
    y : array of x's shape
    mean, variance : array (channels,)
        Those that were used; 0 in training on an empty batch. `batch_norm_backward` takes them.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit; only one of `mean` and `variance` is given; `epsilon`, `activation` or
        `out` is not as said above.

    Notes
    -----
    Ioffe and Szegedy 2015, algorithm 1. The variance is the biased one, divided by the n numbers of
    a channel. Running averages for inference are the caller's to keep; the paper multiplies their
    variance by n / (n - 1).
    """
    operator = "batch_norm"
    check_input(operator, "x", x)
    check_input(operator, "gamma", gamma)
    check_input(operator, "beta", beta)
    if mean is not None:
        check_input(operator, "mean", mean)
    if variance is not None:
        check_input(operator, "variance", variance)
    shape = calls.check_batch_norm(x, gamma, beta, mean, variance, epsilon, activation)
    values = as_float64(x)
    scale = as_float64(gamma)
    shift = as_float64(beta)
    given_mean = None if mean is None else as_float64(mean)
    given_variance = None if variance is None else as_float64(variance)
    epsilon = plain(epsilon)
    inputs = {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    check_result(operator, out, x.shape, inputs)

    pixels = values.reshape(shape.pixels, shape.channels)
    if given_mean is not None and given_variance is not None:
        used_mean, used_variance = given_mean, given_variance
    elif shape.pixels == 0:
        used_mean, used_variance = np.zeros(shape.channels), np.zeros(shape.channels)
    else:
        used_mean, used_variance = pixels.mean(axis=0), pixels.var(axis=0)
    y = scale * (pixels - used_mean) / np.sqrt(used_variance + epsilon) + shift
    if activation == "relu":
        y = np.maximum(y, 0)
    return deliver(y.reshape(x.shape), out), used_mean, used_variance


def batch_norm_backward(
    dy: FloatArray,
    x: FloatArray,
    gamma: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    *,
    epsilon: float = 1e-5,
    training: bool = True,
    out: tuple[FloatArray | None, FloatArray | None, FloatArray | None] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gradients of `batch_norm` with respect to x, gamma and beta.

        z = (x - mean) / sqrt(variance + epsilon)
        dgamma = sum(dy * z)     dbeta = sum(dy)      over all axes but the last, n numbers
        dx = gamma / sqrt(variance + epsilon) * (dy - dbeta / n - z * dgamma / n)

    Arrays are float32 (the reference: float64 too, and new results are float64), the inputs with
    any strides.

    Parameters
    ----------
    dy : array of x's shape
        Gradient at the output of the affine map: the mask of a fused ReLU is the caller's to apply,
        with `relu_backward`.
    x : array (batch, ..., channels)
        Input of the forward call.
    gamma : array (channels,)
    mean, variance : array (channels,)
        Those that the forward call returned.
    epsilon : float
        That of the forward call.
    training : bool
        True: mean and variance are those of x and depend on it. False: they are constants, and the
        last two terms of dx are absent.
    out : tuple (dx, dgamma, dbeta), optional
        Each None, or an array of the shape below: float32 (the reference: float64 too),
        C-contiguous, writeable, overlapping neither an input nor another of them. Filled and
        returned; a new array for each None.

    Returns
    -------
    dx : array of x's shape
    dgamma, dbeta : array (channels,)
        0 for an empty batch.

    Raises
    ------
    TypeError
        An array is no `numpy.ndarray` or is masked, or its dtype or byte order is another; or a
        parameter has the wrong type.
    ValueError
        Shapes do not fit, `epsilon` is not greater than 0, or `out` is not as said above.

    Notes
    -----
    Ioffe and Szegedy 2015, section 3, the gradients through the statistics collected in one term.
    """
    operator = "batch_norm_backward"
    check_input(operator, "dy", dy)
    check_input(operator, "x", x)
    check_input(operator, "gamma", gamma)
    check_input(operator, "mean", mean)
    check_input(operator, "variance", variance)
    shape = calls.check_batch_norm_backward(dy, x, gamma, mean, variance, epsilon, training)
    gradient = as_float64(dy)
    values = as_float64(x)
    scale = as_float64(gamma)
    used_mean = as_float64(mean)
    used_variance = as_float64(variance)
    epsilon = plain(epsilon)
    channels = (shape.channels,)
    out_dx, out_dgamma, out_dbeta = check_results(
        operator,
        out,
        {"dx": x.shape, "dgamma": channels, "dbeta": channels},
        {"dy": dy, "x": x, "gamma": gamma, "mean": mean, "variance": variance},
    )

    dy_pixels = gradient.reshape(shape.pixels, shape.channels)
    pixels = values.reshape(shape.pixels, shape.channels)
    deviation = np.sqrt(used_variance + epsilon)
    normalized = (pixels - used_mean) / deviation
    dgamma = np.sum(dy_pixels * normalized, axis=0)
    dbeta = np.sum(dy_pixels, axis=0)
    through = dy_pixels
    if training and shape.pixels:
        through = dy_pixels - (dbeta + normalized * dgamma) / shape.pixels
    dx = (scale / deviation * through).reshape(x.shape)
    return deliver(dx, out_dx), deliver(dgamma, out_dgamma), deliver(dbeta, out_dbeta)
