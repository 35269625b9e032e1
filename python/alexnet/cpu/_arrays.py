"""Arrays in and out of the CPU operators: float32, C-contiguous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.arrays import aligned_empty
from alexnet.contract.arguments import AnyArray, Shape, as_plain, check_array, check_out, check_outs

FloatArray: TypeAlias = npt.NDArray[np.float32]


def as_input(operator: str, argument: str, array: object) -> FloatArray:
    """`array` as C-contiguous float32: itself, or a copy where only the layout differs."""
    return as_plain(check_array(operator, argument, array), np.float32)  # type: ignore[return-value]


def make_output(
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
        return aligned_empty(shape)
    return check_out(operator, argument, out, shape, inputs, may_be=may_be)  # type: ignore[return-value]


def make_outputs(
    operator: str,
    out: object,
    shapes: Mapping[str, Shape],
    inputs: Mapping[str, AnyArray | None],
) -> list[FloatArray]:
    """One array for each of `shapes`: the entry of `out` where one is given, else a new array."""
    given = check_outs(operator, out, shapes, inputs)
    return [
        aligned_empty(shape) if array is None else array  # type: ignore[misc]
        for array, shape in zip(given, shapes.values(), strict=True)
    ]
