"""Batch normalisation on the CPU; see `alexnet.reference.batch_norm`."""

from __future__ import annotations

import numpy as np

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import FloatArray, check_input, make_output, make_outputs, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.batch_norm)
def batch_norm(
    x: AnyArray,
    gamma: AnyArray,
    beta: AnyArray,
    *,
    mean: AnyArray | None = None,
    variance: AnyArray | None = None,
    epsilon: float = 1e-5,
    activation: str | None = None,
    out: AnyArray | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    operator = "batch_norm"
    x = check_input(operator, "x", x)
    gamma = check_input(operator, "gamma", gamma)
    beta = check_input(operator, "beta", beta)
    mean = None if mean is None else check_input(operator, "mean", mean)
    variance = None if variance is None else check_input(operator, "variance", variance)
    shape = calls.check_batch_norm(x, gamma, beta, mean, variance, epsilon, activation)
    x, gamma, beta, mean, variance = plain_inputs(x, gamma, beta, mean, variance)
    inputs = {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    y = make_output(operator, "out", out, x.shape, inputs)
    relu = activation == "relu"
    if mean is None or variance is None:
        mean, variance = np.empty_like(gamma), np.empty_like(gamma)
        call_kernel(
            _cpu.batch_norm_training, shape, x, gamma, beta, epsilon, relu, y, mean, variance
        )
    else:
        call_kernel(
            _cpu.batch_norm_inference, shape, x, gamma, beta, mean, variance, epsilon, relu, y
        )
    return y, mean, variance  # type: ignore[return-value]


@documented_as(reference.batch_norm_backward)
def batch_norm_backward(
    dy: AnyArray,
    x: AnyArray,
    gamma: AnyArray,
    mean: AnyArray,
    variance: AnyArray,
    *,
    epsilon: float = 1e-5,
    training: bool = True,
    out: tuple[AnyArray | None, AnyArray | None, AnyArray | None] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    operator = "batch_norm_backward"
    dy = check_input(operator, "dy", dy)
    x = check_input(operator, "x", x)
    gamma = check_input(operator, "gamma", gamma)
    mean = check_input(operator, "mean", mean)
    variance = check_input(operator, "variance", variance)
    shape = calls.check_batch_norm_backward(dy, x, gamma, mean, variance, epsilon, training)
    dy, x, gamma, mean, variance = plain_inputs(dy, x, gamma, mean, variance)
    shapes = {"dx": x.shape, "dgamma": gamma.shape, "dbeta": gamma.shape}
    inputs = {"dy": dy, "x": x, "gamma": gamma, "mean": mean, "variance": variance}
    dx, dgamma, dbeta = make_outputs(operator, out, shapes, inputs)
    call_kernel(
        _cpu.batch_norm_backward,
        shape,
        dy,
        x,
        gamma,
        mean,
        variance,
        epsilon,
        training,
        dx,
        dgamma,
        dbeta,
    )
    return dx, dgamma, dbeta
