"""The arrays a network allocates: the one place that depends on their kind.

Everything else in the network code calls operators and array methods only, so that another kind
of array needs a branch here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from alexnet.checks import AnyArray, Shape, check_array

Array: TypeAlias = Any  # an array of the kind that the network's operators work on


@dataclass(frozen=True)
class ArrayKind:
    """NumPy arrays of one floating dtype."""

    dtype: np.dtype[Any]

    def empty(self, shape: Shape) -> Array:
        """Uninitialised array."""
        return np.empty(shape, self.dtype)

    def zeros(self, shape: Shape) -> Array:
        """Array of zeros; the system hands its pages out only when they are written to."""
        return np.zeros(shape, self.dtype)

    def from_host(self, values: AnyArray) -> Array:
        """`values` as an array of this kind, floating numbers in its dtype; a copy if need be."""
        return values.astype(self.dtype if values.dtype.kind == "f" else values.dtype, copy=False)

    def to_host(self, array: Array) -> AnyArray:
        """`array` as a NumPy array, without a copy where it is one."""
        return np.asarray(array)

    def hand_out(self, array: Array, *, writeable: bool) -> Array:
        """View `array` for the caller, who may write to it or not."""
        view = array[...]
        view.flags.writeable = writeable
        return view

    def check_input(self, function: str, argument: str, array: object, axes: Shape) -> Array:
        """`array`, C-contiguous, if it fits a network: shape (batch, *axes) and a usable dtype.

        float32 always; a float64 network takes float64 as well. Copies only what is not contiguous.
        """
        dtypes = sorted({"float32", self.dtype.name})
        given = check_array(function, argument, array, dtypes)
        if given.ndim != len(axes) + 1 or given.shape[1:] != axes:
            expected = ", ".join(("batch", *map(str, axes)))
            raise ValueError(
                f"{function}: {argument} has shape {given.shape}, expected ({expected})"
            )
        return np.ascontiguousarray(given)


def array_kind(implementation: ModuleType) -> ArrayKind:
    """float64 for `alexnet.reference`, which computes in it; float32 for the kernels."""
    is_reference = implementation.__name__ == "alexnet.reference"
    return ArrayKind(np.dtype(np.float64 if is_reference else np.float32))
