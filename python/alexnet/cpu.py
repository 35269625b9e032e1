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

from collections.abc import Callable
from typing import ParamSpec, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from alexnet import _cpu, calls, reference
from alexnet.checks import AnyArray, check_array, check_out

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
