"""The arithmetic that the products of convolutions and dense layers are asked to use."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import cupy

from alexnet.contract.documentation import documented_with
from alexnet.messages import shown

P = ParamSpec("P")
R = TypeVar("R")

PRECISIONS = ("float32", "tf32")
FIRST_WITH_TENSOR_CORES = 80  # of the types used here; compute capability: Ampere

PARAMETER = """\
    precision : "float32" or "tf32"
        "float32": fused multiply-adds, exact but for the last rounding of each. "tf32": the tensor
        cores of Ampere and newer devices, which round both operands to 10 bits of mantissa, for a
        relative L2 error of 3e-4; runs of channels or features that are no multiple of 4 stay with
        float32, but for the channels of x in a convolution. Maps and weights may also be, all of
        them, float16 or `ml_dtypes.bfloat16`, which tensor cores multiply as they are, with sums in
        float32 and results rounded once: precision stays "float32" then. A bias and the gradients
        of both are float32 in any case.
"""


RELU_OUTPUT = """\
    relu_output : device array, optional
        Of the input's shape and dtype: the output of a ReLU that was the input. The result is then
        the gradient before that ReLU, 0 wherever `relu_output` is not positive, in the same pass.
"""


def documented_with_precision(
    namesake: Callable[..., object],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function the docstring of the reference operator, with `precision` before `out`."""
    return documented_with(namesake, PARAMETER)


def documented_as_input_gradient(
    namesake: Callable[..., object],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a function the reference's docstring, with `precision` and `relu_output`."""
    return documented_with(namesake, PARAMETER + RELU_OUTPUT)


def is_tf32(operator: str, precision: str, dtype: str) -> bool:
    """Check `precision` and the operands' `dtype`, and that the current device has them.

    Returns whether `precision` is "tf32".
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(
            f"{operator}: precision is {shown(precision)}, expected one of {PRECISIONS}"
        )
    if dtype != "float32" and precision == "tf32":
        raise ValueError(
            f"{operator}: precision is 'tf32', which is for float32 arrays, but they are {dtype}"
        )
    name, needed = ("precision", precision) if dtype == "float32" else ("dtype", dtype)
    capability = cupy.cuda.Device().compute_capability
    if needed != "float32" and int(capability) < FIRST_WITH_TENSOR_CORES:
        raise ValueError(
            f"{operator}: {name} is {needed!r}, which the current device, of compute capability "
            f"{capability}, does not have; use 'float32'"
        )
    return precision == "tf32"
