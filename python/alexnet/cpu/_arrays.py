"""Arrays in and out of the CPU operators: float32, C-contiguous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVarTuple

import numpy as np
import numpy.typing as npt

from alexnet.arrays import aligned_empty
from alexnet.contract.arguments import AnyArray, Shape, as_plain, check_array, check_out, check_outs

FloatArray: TypeAlias = npt.NDArray[np.float32]
Arrays = TypeVarTuple("Arrays")


def as_input(operator: str, argument: str, array: object) -> FloatArray:
    """`array` as C-contiguous float32: itself, or a copy where only the layout differs.

    For an operator that checks shapes, `check_input` and, after those checks, `plain_inputs` take
    its place: a view may be far larger than its memory, and so than any copy.
    """
    return as_plain(check_input(operator, argument, array), np.float32)  # type: ignore[return-value]


def check_input(operator: str, argument: str, array: object) -> FloatArray:
    """`array` if it is float32, of whatever shape and layout."""
    return check_array(operator, argument, array)  # type: ignore[return-value]


def plain_inputs(*arrays: *Arrays) -> tuple[*Arrays]:
    """Make of each array what `as_input` would, once all of them are checked; None stays None."""
    return tuple(  # type: ignore[return-value]
        None if array is None else as_plain(array, np.float32)  # type: ignore[arg-type]
        for array in arrays
    )


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
