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

from collections.abc import Callable, Sequence
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
    check_out,
    check_out_tuple,
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
    return np.ascontiguousarray(check_array(operator, argument, array), dtype=np.float32)


def _output(
    operator: str,
    argument: str,
    out: object,
    shape: tuple[int, ...],
    inputs: dict[str, AnyArray | None],
    *,
    may_be: str | None = None,
) -> FloatArray:
    """`out` where it is given and fits, else a new array."""
    if out is None:
        return np.empty(shape, np.float32)
    return check_out(operator, argument, out, shape, inputs, may_be=may_be)  # type: ignore[return-value]


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
    dweight, dbias = _weight_gradients(operator, out, shape.weight_shape, {"dy": dy, "x": x})
    _cpu.conv2d_backward_weight(shape, dy, x, algorithm, dweight, dbias)
    return dweight, dbias


def _weight_gradients(
    operator: str, out: object, weight_shape: Shape, inputs: dict[str, AnyArray | None]
) -> tuple[FloatArray, FloatArray]:
    """Arrays for dweight and dbias: the entries of `out` that are given, else new ones."""
    given_weight, given_bias = check_out_tuple(operator, out, ("dweight", "dbias"))
    dbias = _output(operator, "out[1] (dbias)", given_bias, weight_shape[-1:], inputs)
    inputs = {**inputs, "out[1] (dbias)": dbias}
    dweight = _output(operator, "out[0] (dweight)", given_weight, weight_shape, inputs)
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
    dweight, dbias = _weight_gradients(operator, out, shape.weight_shape, {"dy": dy, "x": x})
    _cpu.dense_backward_weight(shape, dy, x, dweight, dbias)
    return dweight, dbias


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
