"""Batch normalisation on a CUDA device; see `alexnet.reference.batch_norm`."""

from __future__ import annotations

import cupy

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import (
    DeviceArray,
    as_input,
    as_stored,
    make_output,
    make_outputs,
    make_workspace,
    stream,
)


@documented_as(reference.batch_norm)
def batch_norm(
    x: DeviceArray,
    gamma: DeviceArray,
    beta: DeviceArray,
    *,
    mean: DeviceArray | None = None,
    variance: DeviceArray | None = None,
    epsilon: float = 1e-5,
    activation: str | None = None,
    out: DeviceArray | None = None,
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    operator = "batch_norm"
    x = as_stored(operator, "x", x)
    gamma = as_input(operator, "gamma", gamma)
    beta = as_input(operator, "beta", beta)
    mean = None if mean is None else as_input(operator, "mean", mean)
    variance = None if variance is None else as_input(operator, "variance", variance)
    shape = calls.check_batch_norm(x, gamma, beta, mean, variance, epsilon, activation)
    inputs = {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    y = make_output(operator, "out", out, x.shape, inputs, like=x)
    relu = activation == "relu"
    if mean is None or variance is None:
        mean, variance = cupy.empty_like(gamma), cupy.empty_like(gamma)
        workspace = make_workspace(_cuda.batch_norm_workspace(shape))
        _cuda.batch_norm_training(
            shape, x, gamma, beta, epsilon, relu, y, mean, variance, workspace, stream()
        )
    else:
        _cuda.batch_norm_inference(
            shape, x, gamma, beta, mean, variance, epsilon, relu, y, stream()
        )
    return y, mean, variance


@documented_as(reference.batch_norm_backward)
def batch_norm_backward(
    dy: DeviceArray,
    x: DeviceArray,
    gamma: DeviceArray,
    mean: DeviceArray,
    variance: DeviceArray,
    *,
    epsilon: float = 1e-5,
    training: bool = True,
    out: tuple[DeviceArray | None, DeviceArray | None, DeviceArray | None] | None = None,
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    operator = "batch_norm_backward"
    x = as_stored(operator, "x", x)
    dy = as_stored(operator, "dy", dy, x)
    gamma = as_input(operator, "gamma", gamma)
    mean = as_input(operator, "mean", mean)
    variance = as_input(operator, "variance", variance)
    shape = calls.check_batch_norm_backward(dy, x, gamma, mean, variance, epsilon, training)
    shapes = {"dx": x.shape, "dgamma": gamma.shape, "dbeta": gamma.shape}
    inputs = {"dy": dy, "x": x, "gamma": gamma, "mean": mean, "variance": variance}
    dx, dgamma, dbeta = make_outputs(operator, out, shapes, inputs, like={"dx": x})
    workspace = make_workspace(_cuda.batch_norm_workspace(shape))
    _cuda.batch_norm_backward(
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
        workspace,
        stream(),
    )
    return dx, dgamma, dbeta
