"""The operators on the CPU: float32 NumPy arrays, C++ kernels, one function an operator.

Each function has the signature, the checks and the results of its namesake in
``alexnet.reference``, whose docstring it shares; what differs is said here once. Arrays must be
float32 (labels: any integer dtype) in the machine's byte order; inputs that are not C-contiguous
are copied once. Results are new arrays unless ``out`` is given, which must have the exact shape and
dtype, be C-contiguous and writeable, and overlap no input unless the operator says so. Nothing is
written before every argument has passed its checks. The interpreter lock is released while a kernel
runs; calls from several Python threads are independent. The same input gives the same bits for
every number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from alexnet import _cpu, calls, reference
from alexnet.checks import (
    CONV2D_ALGORITHMS,
    AnyArray,
    Shape,
    Size2d,
    check_array,
    check_integer_array,
    check_out,
    check_outs,
    check_separate,
    check_writeable,
)
from alexnet.shapes import Padding

P = ParamSpec("P")
R = TypeVar("R")
FloatArray: TypeAlias = npt.NDArray[np.float32]


def _documented_as(namesake: Callable[..., object]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function the docstring of the reference operator that it implements."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        function.__doc__ = namesake.__doc__
        return function

    return decorate


def _input(operator: str, argument: str, array: object) -> FloatArray:
    """`array` as C-contiguous float32: itself, or a copy where only the layout differs."""
    return np.asarray(check_array(operator, argument, array), dtype=np.float32, order="C")


def _output(
    operator: str,
    argument: str,
    out: object,
    shape: tuple[int, ...],
    inputs: Mapping[str, AnyArray | None],
    *,
    may_be: str | None = None,
) -> FloatArray:
    """`out` where it is given and fits, else a new array."""
    if out is None:
        return np.empty(shape, np.float32)
    return check_out(operator, argument, out, shape, inputs, may_be=may_be)  # type: ignore[return-value]


def _outputs(
    operator: str,
    out: object,
    shapes: Mapping[str, Shape],
    inputs: Mapping[str, AnyArray | None],
) -> list[FloatArray]:
    """One array for each of `shapes`: the entry of `out` where one is given, else a new array."""
    given = check_outs(operator, out, shapes, inputs)
    return [
        np.empty(shape, np.float32) if array is None else array  # type: ignore[misc]
        for array, shape in zip(given, shapes.values(), strict=True)
    ]


# --- convolution ----------------------------------------------------------------------------------


@_documented_as(reference.conv2d_algorithms)
def conv2d_algorithms() -> tuple[str, ...]:
    return CONV2D_ALGORITHMS


@_documented_as(reference.conv2d)
def conv2d(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    out: AnyArray | None = None,
) -> FloatArray:
    x = _input("conv2d", "x", x)
    weight = _input("conv2d", "weight", weight)
    bias = None if bias is None else _input("conv2d", "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = _output("conv2d", "out", out, shape.output_shape, inputs)
    _cpu.conv2d(shape, x, weight, bias, activation == "relu", algorithm, y)
    return y


@_documented_as(reference.conv2d_backward_input)
def conv2d_backward_input(
    dy: AnyArray,
    weight: AnyArray,
    input_shape: Sequence[int],
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    out: AnyArray | None = None,
) -> FloatArray:
    operator = "conv2d_backward_input"
    dy = _input(operator, "dy", dy)
    weight = _input(operator, "weight", weight)
    shape = calls.check_conv2d_backward_input(
        dy, weight, input_shape, stride, padding, groups, algorithm
    )
    dx = _output(operator, "out", out, shape.input_shape, {"dy": dy, "weight": weight})
    _cpu.conv2d_backward_input(shape, dy, weight, algorithm, dx)
    return dx


@_documented_as(reference.conv2d_backward_weight)
def conv2d_backward_weight(
    dy: AnyArray,
    x: AnyArray,
    kernel_size: Size2d,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    out: tuple[AnyArray | None, AnyArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    operator = "conv2d_backward_weight"
    dy = _input(operator, "dy", dy)
    x = _input(operator, "x", x)
    shape = calls.check_conv2d_backward_weight(
        dy, x, kernel_size, stride, padding, groups, algorithm
    )
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_channels,)}
    dweight, dbias = _outputs(operator, out, shapes, {"dy": dy, "x": x})
    _cpu.conv2d_backward_weight(shape, dy, x, algorithm, dweight, dbias)
    return dweight, dbias


# --- dense ----------------------------------------------------------------------------------------


@_documented_as(reference.dense)
def dense(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    *,
    activation: str | None = None,
    out: AnyArray | None = None,
) -> FloatArray:
    x = _input("dense", "x", x)
    weight = _input("dense", "weight", weight)
    bias = None if bias is None else _input("dense", "bias", bias)
    shape = calls.check_dense(x, weight, bias, activation)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = _output("dense", "out", out, shape.output_shape, inputs)
    _cpu.dense(shape, x, weight, bias, activation == "relu", y)
    return y


@_documented_as(reference.dense_backward_input)
def dense_backward_input(
    dy: AnyArray, weight: AnyArray, *, out: AnyArray | None = None
) -> FloatArray:
    operator = "dense_backward_input"
    dy = _input(operator, "dy", dy)
    weight = _input(operator, "weight", weight)
    shape = calls.check_dense_backward_input(dy, weight)
    dx = _output(operator, "out", out, shape.input_shape, {"dy": dy, "weight": weight})
    _cpu.dense_backward_input(shape, dy, weight, dx)
    return dx


@_documented_as(reference.dense_backward_weight)
def dense_backward_weight(
    dy: AnyArray,
    x: AnyArray,
    *,
    out: tuple[AnyArray | None, AnyArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    operator = "dense_backward_weight"
    dy = _input(operator, "dy", dy)
    x = _input(operator, "x", x)
    shape = calls.check_dense_backward_weight(dy, x)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_features,)}
    dweight, dbias = _outputs(operator, out, shapes, {"dy": dy, "x": x})
    _cpu.dense_backward_weight(shape, dy, x, dweight, dbias)
    return dweight, dbias


# --- local response normalisation -----------------------------------------------------------------


@_documented_as(reference.lrn)
def lrn(
    x: AnyArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    out: AnyArray | None = None,
) -> FloatArray:
    x = _input("lrn", "x", x)
    shape = calls.check_lrn(x, depth_radius, bias, alpha, beta)
    y = _output("lrn", "out", out, x.shape, {"x": x})
    _cpu.lrn(shape, x, depth_radius, bias, alpha, beta, y)
    return y


@_documented_as(reference.lrn_backward)
def lrn_backward(
    dy: AnyArray,
    x: AnyArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    through_relu: bool = False,
    out: AnyArray | None = None,
) -> FloatArray:
    dy = _input("lrn_backward", "dy", dy)
    x = _input("lrn_backward", "x", x)
    shape = calls.check_lrn_backward(dy, x, depth_radius, bias, alpha, beta, through_relu)
    dx = _output("lrn_backward", "out", out, x.shape, {"dy": dy, "x": x})
    _cpu.lrn_backward(shape, dy, x, depth_radius, bias, alpha, beta, through_relu, dx)
    return dx


# --- pooling --------------------------------------------------------------------------------------


@_documented_as(reference.max_pool2d)
def max_pool2d(
    x: AnyArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    out: AnyArray | None = None,
) -> FloatArray:
    x = _input("max_pool2d", "x", x)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    y = _output("max_pool2d", "out", out, shape.output_shape, {"x": x})
    _cpu.max_pool2d(shape, x, y)
    return y


@_documented_as(reference.max_pool2d_backward)
def max_pool2d_backward(
    dy: AnyArray,
    x: AnyArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    through_relu: bool = False,
    out: AnyArray | None = None,
) -> FloatArray:
    operator = "max_pool2d_backward"
    dy = _input(operator, "dy", dy)
    x = _input(operator, "x", x)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    dx = _output(operator, "out", out, shape.input_shape, {"dy": dy, "x": x})
    _cpu.max_pool2d_backward(shape, dy, x, through_relu, dx)
    return dx


# --- activation -----------------------------------------------------------------------------------


@_documented_as(reference.relu)
def relu(x: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    x = _input("relu", "x", x)
    y = _output("relu", "out", out, x.shape, {"x": x}, may_be="x")
    _cpu.relu(x, y)
    return y


@_documented_as(reference.relu_backward)
def relu_backward(dy: AnyArray, y: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    dy = _input("relu_backward", "dy", dy)
    y = _input("relu_backward", "y", y)
    calls.check_relu_backward(dy, y)
    dx = _output("relu_backward", "out", out, dy.shape, {"dy": dy, "y": y}, may_be="dy")
    _cpu.relu_backward(dy, y, dx)
    return dx


# --- batch normalisation --------------------------------------------------------------------------


@_documented_as(reference.batch_norm)
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
    x = _input(operator, "x", x)
    gamma = _input(operator, "gamma", gamma)
    beta = _input(operator, "beta", beta)
    mean = None if mean is None else _input(operator, "mean", mean)
    variance = None if variance is None else _input(operator, "variance", variance)
    shape = calls.check_batch_norm(x, gamma, beta, mean, variance, epsilon, activation)
    inputs = {"x": x, "gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    y = _output(operator, "out", out, x.shape, inputs)
    relu = activation == "relu"
    if mean is None or variance is None:
        mean, variance = np.empty_like(gamma), np.empty_like(gamma)
        _cpu.batch_norm_training(shape, x, gamma, beta, epsilon, relu, y, mean, variance)
    else:
        _cpu.batch_norm_inference(shape, x, gamma, beta, mean, variance, epsilon, relu, y)
    return y, mean, variance


@_documented_as(reference.batch_norm_backward)
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
    dy = _input(operator, "dy", dy)
    x = _input(operator, "x", x)
    gamma = _input(operator, "gamma", gamma)
    mean = _input(operator, "mean", mean)
    variance = _input(operator, "variance", variance)
    shape = calls.check_batch_norm_backward(dy, x, gamma, mean, variance, epsilon, training)
    shapes = {"dx": x.shape, "dgamma": gamma.shape, "dbeta": gamma.shape}
    inputs = {"dy": dy, "x": x, "gamma": gamma, "mean": mean, "variance": variance}
    dx, dgamma, dbeta = _outputs(operator, out, shapes, inputs)
    _cpu.batch_norm_backward(
        shape, dy, x, gamma, mean, variance, epsilon, training, dx, dgamma, dbeta
    )
    return dx, dgamma, dbeta


# --- dropout --------------------------------------------------------------------------------------


@_documented_as(reference.dropout)
def dropout(
    x: AnyArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: AnyArray | None = None,
) -> FloatArray:
    return _dropout("dropout", "x", x, rate, seed, offset, out)


@_documented_as(reference.dropout_backward)
def dropout_backward(
    dy: AnyArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: AnyArray | None = None,
) -> FloatArray:
    return _dropout("dropout_backward", "dy", dy, rate, seed, offset, out)


def _dropout(
    operator: str, argument: str, array: object, rate: float, seed: int, offset: int, out: object
) -> FloatArray:
    """Mask and scale `array`: what dropout does to x and its gradient to dy."""
    x = _input(operator, argument, array)
    threshold = calls.check_dropout(operator, rate, seed, offset)
    y = _output(operator, "out", out, x.shape, {argument: x}, may_be=argument)
    _cpu.dropout(x, seed, offset, threshold, 1 / (1 - float(rate)), y)
    return y


# --- losses ---------------------------------------------------------------------------------------


@_documented_as(reference.softmax_cross_entropy)
def softmax_cross_entropy(
    logits: AnyArray, labels: AnyArray, *, out: AnyArray | None = None
) -> FloatArray:
    operator = "softmax_cross_entropy"
    logits = _input(operator, "logits", logits)
    indices = _labels(operator, logits, labels)
    loss = _output(operator, "out", out, (), {"logits": logits, "labels": labels})
    batch, classes = logits.shape
    _cpu.softmax_cross_entropy(batch, classes, logits, indices, loss)
    return loss


@_documented_as(reference.softmax_cross_entropy_backward)
def softmax_cross_entropy_backward(
    logits: AnyArray, labels: AnyArray, *, out: AnyArray | None = None
) -> FloatArray:
    operator = "softmax_cross_entropy_backward"
    logits = _input(operator, "logits", logits)
    indices = _labels(operator, logits, labels)
    dlogits = _output(operator, "out", out, logits.shape, {"logits": logits, "labels": labels})
    batch, classes = logits.shape
    _cpu.softmax_cross_entropy_backward(batch, classes, logits, indices, dlogits)
    return dlogits


def _labels(operator: str, logits: FloatArray, labels: object) -> npt.NDArray[np.int64]:
    """`labels` as C-contiguous int64, each of them a class."""
    integers = check_integer_array(operator, "labels", labels)
    batch, classes = calls.check_softmax_cross_entropy(operator, logits, integers)
    if batch:
        calls.check_label_range(operator, int(integers.min()), int(integers.max()), classes)
    return np.ascontiguousarray(integers, dtype=np.int64)


@_documented_as(reference.l2_loss)
def l2_loss(x: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    x = _input("l2_loss", "x", x)
    loss = _output("l2_loss", "out", out, (), {"x": x})
    _cpu.l2_loss(x, loss)
    return loss


@_documented_as(reference.l2_loss_backward)
def l2_loss_backward(x: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    x = _input("l2_loss_backward", "x", x)
    dx = _output("l2_loss_backward", "out", out, x.shape, {"x": x})
    _cpu.l2_loss_backward(x, dx)
    return dx


# --- optimizers -----------------------------------------------------------------------------------


@_documented_as(reference.sgd_update)
def sgd_update(
    parameter: AnyArray,
    gradient: AnyArray,
    velocity: AnyArray,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> None:
    operator = "sgd_update"
    state = {"parameter": parameter, "velocity": velocity}
    slope = _update_arguments(operator, state, gradient)
    calls.check_sgd_update(parameter, gradient, velocity, learning_rate, momentum, weight_decay)
    _check_in_place(operator, state, gradient)
    _cpu.sgd_update(parameter, slope, velocity, learning_rate, momentum, weight_decay)


@_documented_as(reference.adam_update)
def adam_update(
    parameter: AnyArray,
    gradient: AnyArray,
    first_moment: AnyArray,
    second_moment: AnyArray,
    *,
    step: int,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    operator = "adam_update"
    state = {
        "parameter": parameter,
        "first_moment": first_moment,
        "second_moment": second_moment,
    }
    slope = _update_arguments(operator, state, gradient)
    calls.check_adam_update(
        parameter,
        gradient,
        first_moment,
        second_moment,
        step,
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
    )
    _check_in_place(operator, state, gradient)
    _cpu.adam_update(
        parameter,
        slope,
        first_moment,
        second_moment,
        step,
        learning_rate,
        beta1,
        beta2,
        epsilon,
        weight_decay,
    )


def _update_arguments(
    operator: str, state: Mapping[str, AnyArray], gradient: AnyArray
) -> FloatArray:
    """Check kinds and dtypes; return the gradient, C-contiguous."""
    for name, array in state.items():
        check_array(operator, name, array)
    return _input(operator, "gradient", gradient)


def _check_in_place(operator: str, state: Mapping[str, AnyArray], gradient: AnyArray) -> None:
    """Check that the arrays of `state` can be written to and that none shares memory."""
    others = {"gradient": gradient}
    for name, array in state.items():
        check_writeable(operator, name, array)
        check_separate(operator, name, array, others)
        others[name] = array
