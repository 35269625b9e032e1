"""Arrays in and out of the reference: float32 or float64 in, computed and returned in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import AnyArray, Shape, check_array, check_out, check_outs

Float64Array: TypeAlias = npt.NDArray[np.float64]
FloatArray: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]

DTYPES = ("float32", "float64")


def check_input(operator: str, argument: str, array: object) -> None:
    """`array` is of float32 or float64, of whatever shape and layout."""
    check_array(operator, argument, array, DTYPES)


def as_float64(array: FloatArray) -> Float64Array:
    """Convert an array to float64, once all is checked: a view may be larger than any copy."""
    return np.asarray(array, dtype=np.float64)


def check_result(
    operator: str,
    out: object,
    shape: Shape,
    inputs: Mapping[str, AnyArray | None],
    *,
    may_be: str | None = None,
) -> FloatArray | None:
    """`out` if it can take a result of `shape`; None where none is given."""
    if out is None:
        return None
    checked = check_out(operator, "out", out, shape, inputs, dtypes=DTYPES, may_be=may_be)
    return cast(FloatArray, checked)


def check_results(
    operator: str, out: object, shapes: Mapping[str, Shape], inputs: Mapping[str, AnyArray]
) -> list[FloatArray | None]:
    """`check_result` for every entry of the `out` of an operator with several results."""
    return cast(list[FloatArray | None], check_outs(operator, out, shapes, inputs, dtypes=DTYPES))


def deliver(result: Float64Array, out: FloatArray | None) -> FloatArray:
    """Return `result`, or `out` holding it, rounded to the dtype of `out`."""
    if out is None:
        return result
    out[...] = result
    return out
