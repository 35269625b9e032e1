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


def as_float64(operator: str, argument: str, array: FloatArray) -> Float64Array:
    """Convert a float32 or float64 array to float64."""
    return np.asarray(check_array(operator, argument, array, DTYPES), dtype=np.float64)


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
