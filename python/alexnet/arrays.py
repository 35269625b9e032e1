"""The arrays a network allocates: the one place that depends on their kind.

Everything else in the network code calls operators and array methods only, so that another kind
of array needs a branch here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from alexnet.checks import NUMPY, AnyArray, ArrayAccess, Shape, check_array

Array: TypeAlias = Any  # an array of the kind that the network's operators work on


@dataclass(frozen=True)
class ArrayKind:
    """Arrays of one floating dtype, made by `module`: NumPy, or CuPy on the current device."""

    dtype: np.dtype[Any]
    module: Any = np
    access: ArrayAccess = NUMPY

    def empty(self, shape: Shape) -> Array:
        """Uninitialised array."""
        return self.module.empty(shape, self.dtype)

    def zeros(self, shape: Shape) -> Array:
        """Array of zeros; the system hands its pages out only when they are written to."""
        return self.module.zeros(shape, self.dtype)

    def from_host(self, values: AnyArray) -> Array:
        """`values` as an array of this kind, floating numbers in its dtype; a copy if need be."""
        dtype = self.dtype if values.dtype.kind == "f" else values.dtype
        return self.module.asarray(values.astype(dtype, copy=False))

    def to_host(self, array: Array) -> AnyArray:
        """`array` as a NumPy array, without a copy where it is one."""
        values: AnyArray = array if isinstance(array, np.ndarray) else self.module.asnumpy(array)
        return values

    def timed(self, work: Callable[[], Array]) -> tuple[Array, float]:
        """Do `work`; return its result, and its seconds: by the clock, or on a device by events.

        The device is waited for before and after.
        """
        if self.module is np:
            start = perf_counter()
            result = work()
            return result, perf_counter() - start
        cuda = self.module.cuda
        begin, end = cuda.Event(), cuda.Event()
        cuda.Device().synchronize()
        begin.record()
        result = work()
        end.record()
        cuda.Device().synchronize()
        return result, float(cuda.get_elapsed_time(begin, end)) / 1e3

    def hand_out(self, array: Array, *, writeable: bool) -> Array:
        """View `array` for the caller, who may write to it or not (CuPy's arrays: always)."""
        view = array[...]
        if self.module is np:
            view.flags.writeable = writeable
        return view

    def check_input(self, function: str, argument: str, array: object, axes: Shape) -> Array:
        """`array`, C-contiguous, if it fits a network: shape (batch, *axes) and a usable dtype.

        float32 always; a float64 network takes float64 as well. Copies what is not contiguous and,
        for a network on a device, what is NumPy's.
        """
        dtypes = sorted({"float32", self.dtype.name})
        access = NUMPY if isinstance(array, np.ndarray) else self.access
        given = check_array(function, argument, array, dtypes, access)
        if given.ndim != len(axes) + 1 or given.shape[1:] != axes:
            expected = ", ".join(("batch", *map(str, axes)))
            raise ValueError(
                f"{function}: {argument} has shape {given.shape}, expected ({expected})"
            )
        return self.module.ascontiguousarray(self.module.asarray(given))


def array_kind(implementation: ModuleType) -> ArrayKind:
    """float64 for `alexnet.reference`, which computes in it; float32 for the kernels."""
    if implementation.__name__.startswith("alexnet.cuda"):
        access = import_module("alexnet.cuda._arrays").DEVICE
        return ArrayKind(np.dtype(np.float32), import_module("cupy"), access)
    is_reference = implementation.__name__ == "alexnet.reference"
    return ArrayKind(np.dtype(np.float64 if is_reference else np.float32))
