"""The arrays a network allocates: the one place that depends on their kind.

Everything else in the network code calls operators and array methods only, so that another kind
of array needs a branch here and nowhere else.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from time import perf_counter
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.contract import hints
from alexnet.contract.arguments import (
    NUMPY,
    AnyArray,
    ArrayAccess,
    Shape,
    as_plain,
    check_array,
    check_extents,
)

Array: TypeAlias = Any  # an array of the kind that the network's operators work on

CACHE_LINE = 64  # bytes, and those of the longest vector
LARGE_PAGE = 2 << 20  # bytes
LARGE = LARGE_PAGE // 2  # bytes from which an array that stays takes whole large pages


def aligned_empty(shape: Shape, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """Uninitialised NumPy array that begins with a cache line.

    NumPy's own begin 16 or 32 bytes into one, so that every vector of 64 bytes takes two.
    MemoryError names the shape where there is no such memory.
    """
    return _aligned(np.empty, shape, np.dtype(dtype))


def aligned_copy(array: AnyArray) -> npt.NDArray[Any]:
    """Copy a NumPy array to where a network would have it: to the begin of a cache line."""
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _aligned(
    make: Callable[..., npt.NDArray[Any]], shape: Shape, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    count = math.prod(shape)
    try:
        memory = make(count + CACHE_LINE // dtype.itemsize, dtype)
    except (MemoryError, ValueError, OverflowError):  # NumPy's two others: beyond all addresses
        raise MemoryError(
            f"an array of shape {shape} and dtype {dtype} takes {count * dtype.itemsize} bytes, "
            "which is more memory than there is"
        ) from None
    first = -memory.__array_interface__["data"][0] % CACHE_LINE // dtype.itemsize
    return memory[first : first + count].reshape(shape)


def lasting_zeros(shape: Shape, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Array of zeros that begins with a cache line, in large pages where it is large.

    NumPy asks for large pages from 4 MiB on, and its allocator may hand out again what has small
    ones. Fresh pages cost more than such memory, so this is for arrays that stay.
    """
    size = math.prod(shape) * dtype.itemsize
    if size >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        pages = -(-size // LARGE_PAGE) + 1  # one more, to begin with a whole one
        try:
            memory = mmap.mmap(-1, pages * LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
        except (OSError, OverflowError):  # too much, which is said below, or no such pages
            return _aligned(np.zeros, shape, dtype)
        array = np.frombuffer(memory, np.uint8)
        first = -array.__array_interface__["data"][0] % LARGE_PAGE
        return array[first : first + size].view(dtype).reshape(shape)
    return _aligned(np.zeros, shape, dtype)


@dataclass(frozen=True)
class ArrayKind:
    """Arrays of one floating dtype, made by `module`: NumPy, or CuPy on the current device.

    New arrays begin with a cache line (CuPy's with 512 bytes), and are meant to stay.
    """

    dtype: np.dtype[Any]
    module: Any = np
    access: ArrayAccess = NUMPY

    def empty(self, shape: Shape) -> Array:
        """Array whose contents are not yet of interest."""
        if self.module is np:
            return lasting_zeros(shape, self.dtype)
        return self.module.empty(shape, self.dtype)

    def zeros(self, shape: Shape) -> Array:
        """Array of zeros; the system hands its pages out only when they are written to."""
        if self.module is np:
            return lasting_zeros(shape, self.dtype)
        return self.module.zeros(shape, self.dtype)

    def filled(self, values: AnyArray) -> Array:
        """Array of its own with `values`."""
        array = self.empty(values.shape)
        array[...] = self.from_host(values)
        return array

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

    @cached_property
    def _input_dtypes(self) -> tuple[str, ...]:
        return tuple(sorted({"float32", self.dtype.name}))

    def check_input(self, function: str, argument: str, array: object, axes: Shape) -> Array:
        """`array`, C-contiguous, if it fits a network: shape (batch, *axes) and a usable dtype.

        float32 always; a float64 network takes float64 as well. Copies what is not contiguous and,
        for a network on a device, what is NumPy's.
        """
        access = NUMPY if isinstance(array, np.ndarray) else self.access
        if isinstance(array, np.ndarray) and array.dtype == np.uint8:
            expected = " or ".join(self._input_dtypes)
            raise TypeError(
                f"{function}: {argument} has dtype uint8, expected {expected}: "
                "alexnet.predict takes pixels, and Preprocessing.evaluation_views scales them"
            )
        given = check_array(function, argument, array, self._input_dtypes, access)
        if given.ndim != len(axes) + 1 or given.shape[1:] != axes:
            expected = ", ".join(("batch", *map(str, axes)))
            hint = hints.of_shape(argument, given.shape, (*given.shape[:1], *axes))
            raise ValueError(
                f"{function}: {argument} has shape {given.shape}, expected ({expected}){hint}"
            )
        check_extents(function, argument, given.shape, first=0)  # of a view, before a copy
        if self.module is np:
            return as_plain(given)
        return self.module.ascontiguousarray(self.module.asarray(given))


def array_kind(implementation: ModuleType) -> ArrayKind:
    """float64 for `alexnet.reference`, which computes in it; float32 for the kernels."""
    if implementation.__name__.startswith("alexnet.cuda"):
        access = import_module("alexnet.cuda._arrays").DEVICE
        return ArrayKind(np.dtype(np.float32), import_module("cupy"), access)
    is_reference = implementation.__name__ == "alexnet.reference"
    return ArrayKind(np.dtype(np.float64 if is_reference else np.float32))
