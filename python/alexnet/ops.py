"""The operators, on the implementation that fits the array they are given.

A NumPy array goes to `alexnet.cpu`, one on a CUDA device to `alexnet.cuda`. The signatures and
docstrings are those of `alexnet.reference`, with the `precision` that `conv2d` and `dense` of both
take.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import ParamSpec, TypeVar

import numpy as np

from alexnet import cpu, reference
from alexnet.contract import hints
from alexnet.contract.arguments import DLPACK_CUDA
from alexnet.contract.documentation import documented_with
from alexnet.contract.names import check_call
from alexnet.messages import shown, type_name
from alexnet.runtime import cuda_obstacle

P = ParamSpec("P")
R = TypeVar("R")

PRECISION = """\
    precision : "float32", "bfloat16" or "tf32"
        Of the products: "bfloat16" on the CPU, which rounds x and weight as `alexnet.cpu` says, for
        a relative L2 error of 2e-3; "tf32" on a CUDA device, as `alexnet.cuda` says.
"""


def implementation_of(operator: str, argument: str, array: object) -> ModuleType:
    """Find the module whose kernels work on arrays of this kind.

    Raises
    ------
    TypeError
        The array is of no kind that an implementation works on.
    NotImplementedError
        It is on a CUDA device, and `alexnet.cuda` can't be used; the text says why.
    """
    if isinstance(array, np.ndarray):
        return cpu
    if is_on_device(array):
        obstacle = cuda_obstacle()
        if obstacle:
            raise NotImplementedError(
                f"{operator}: {argument} is on a CUDA device, but {obstacle}; or pass a NumPy array"
            )
        return import_module("alexnet.cuda")
    raise TypeError(
        f"{operator}: {argument} is of type {type_name(array)}, expected a numpy.ndarray, or an "
        f"array on a CUDA device{hints.of_type(argument, array)}"
    )


def implementation_on(device: str) -> ModuleType:
    """Find the module whose operators run on `device`, "cpu" or "cuda".

    Raises
    ------
    ValueError
        It is neither.
    NotImplementedError
        It is "cuda", and `alexnet.cuda` can't be used; the text says why.
    """
    if not isinstance(device, str) or device not in ("cpu", "cuda"):
        raise ValueError(f"device is {shown(device)}, expected 'cpu' or 'cuda'")
    if device == "cpu":
        return cpu
    if obstacle := cuda_obstacle():
        raise NotImplementedError(f"device is 'cuda', but {obstacle}")
    return import_module("alexnet.cuda")


def is_on_device(array: object) -> bool:
    """Whether `array` is CuPy's, or another that shows its memory on a CUDA device."""
    if hasattr(array, "__cuda_array_interface__"):
        return True
    device_of = getattr(array, "__dlpack_device__", None)
    return device_of is not None and device_of()[0] == DLPACK_CUDA


def _dispatched(namesake: Callable[P, R]) -> Callable[P, R]:
    """Make an operator that calls its namesake of `implementation_of` its first argument."""
    name = namesake.__name__
    first = next(iter(inspect.signature(namesake).parameters))

    @functools.wraps(namesake)
    def operator(*args: P.args, **kwargs: P.kwargs) -> R:
        function: Callable[P, R] = namesake
        try:
            array = args[0] if args else kwargs.get(first)
            function = getattr(implementation_of(name, first, array), name)
            return function(*args, **kwargs)
        except TypeError:
            check_call(name, inspect.signature(function), args, kwargs)
            raise

    return operator


conv2d = documented_with(reference.conv2d, PRECISION)(_dispatched(cpu.conv2d))
conv2d_backward_input = _dispatched(reference.conv2d_backward_input)
conv2d_backward_weight = _dispatched(reference.conv2d_backward_weight)
lrn = _dispatched(reference.lrn)
lrn_backward = _dispatched(reference.lrn_backward)
max_pool2d = _dispatched(reference.max_pool2d)
max_pool2d_backward = _dispatched(reference.max_pool2d_backward)
dense = documented_with(reference.dense, PRECISION)(_dispatched(cpu.dense))
dense_backward_input = _dispatched(reference.dense_backward_input)
dense_backward_weight = _dispatched(reference.dense_backward_weight)
relu = _dispatched(reference.relu)
relu_backward = _dispatched(reference.relu_backward)
batch_norm = _dispatched(reference.batch_norm)
batch_norm_backward = _dispatched(reference.batch_norm_backward)
dropout = _dispatched(reference.dropout)
dropout_backward = _dispatched(reference.dropout_backward)
softmax_cross_entropy = _dispatched(reference.softmax_cross_entropy)
softmax_cross_entropy_backward = _dispatched(reference.softmax_cross_entropy_backward)
l2_loss = _dispatched(reference.l2_loss)
l2_loss_backward = _dispatched(reference.l2_loss_backward)
sgd_update = _dispatched(reference.sgd_update)
adam_update = _dispatched(reference.adam_update)
conv2d_algorithms = reference.conv2d_algorithms
