"""Arrays at the edge of memory that may be touched, and how much memory a call takes."""

from __future__ import annotations

import ctypes
import mmap
import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt


def _between_protected_pages(
    array: npt.NDArray[np.float32], *, at_end: bool
) -> npt.NDArray[np.float32]:
    page = mmap.PAGESIZE
    size = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, size + 2 * page)
    floats = np.frombuffer(memory, array.dtype)  # keeps the mapping alive
    address = floats.ctypes.data
    for protected in (address, address + page + size):
        if ctypes.CDLL(None, use_errno=True).mprotect(
            ctypes.c_void_p(protected), ctypes.c_size_t(page), 0
        ):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = (page + (size - array.nbytes if at_end else 0)) // array.itemsize
    copy = floats[first : first + array.size].reshape(array.shape)
    copy[...] = array
    return copy


def at_page_end(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A copy whose last byte is the last before a page that nobody may touch.

    A kernel that reads or writes beyond it ends the process with a segmentation fault.
    """
    return _between_protected_pages(array, at_end=True)


def at_page_start(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same for what lies before the first byte."""
    return _between_protected_pages(array, at_end=False)


def peak_allocation(call: Callable[[], object]) -> int:
    """Bytes that Python and NumPy hold at most during a call, beyond those before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
