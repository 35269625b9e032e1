"""What the tests share: error measure, guarded outputs, odd sizes, code in a new process."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

import alexnet
from alexnet.arrays import aligned_empty
from alexnet.verification import tolerance

# ALEXNET_ISA narrows a run to one instruction set; otherwise every one of this machine is tested.
ISAS = (os.environ["ALEXNET_ISA"],) if os.environ.get("ALEXNET_ISA") else alexnet.available_isas()

# Around every multiple of a vector (4, 8, 16 lanes) and of the register tiles (6, 14, 16, 32).
TAIL_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100)

# Largest relative L2 error of a matrix product, whatever its depth. A chain of n fused
# multiply-adds of terms without a preferred sign has partial sums that grow as sqrt(k); rounding
# the k-th adds a variance of u**2 * k * t**2 / 6 (u = 2**-24, t the size of a term; 1/6 is uniform
# rounding, averaged over mantissas), so the chain ends u * sqrt(n / 12) off, relative to a sum of
# sqrt(n) * t. Drivers cut longer sums into chains of at most 2048 (cpp/cpu/gemm.h), which gives
# u * sqrt(2048 / 12) = 7.8e-7; adding up a hundred such chains another u * sqrt(100 / 12) = 1.7e-7.
LARGEST_PRODUCT_ERROR = 1e-6

SPIN_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

GUARD = 64  # floats before and after a guarded array
SENTINEL = np.float32(-123456.789)


def relative_error(actual: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """`alexnet.verification.tolerance.relative_error` of anything that NumPy makes an array of."""
    return tolerance.relative_error(np.asarray(actual), np.asarray(expected))


def largest_product_error(depth: int) -> float:
    """Bound of the relative L2 error of sums of `depth` products."""
    return min(LARGEST_PRODUCT_ERROR, tolerance.product_bound(depth))


def random_array(seed: int, *shape: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new process with only these of the variables that alexnet reads."""
    read = ("ALEXNET_ISA", "ALEXNET_NUM_THREADS", "OMP_NUM_THREADS", *SPIN_SETTINGS)
    environment = {name: value for name, value in os.environ.items() if name not in read}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def output_of(code: str, **variables: str) -> str:
    result = python(code, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class Guarded:
    """An output array between two runs of sentinels, itself filled with NaN.

    A kernel that leaves an element unwritten leaves NaN; one that writes outside changes a
    sentinel, which `check` finds. Of three in a row the second begins within a cache line, the
    others with one: kernels may write whole lines past the caches.
    """

    _shifts = itertools.cycle((0, 4, 0))  # elements

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> None:
        size = int(np.prod(shape))
        first = GUARD + next(self._shifts)
        self._memory = aligned_empty((first + size + GUARD,), dtype)
        self._memory[...] = SENTINEL
        self.array = self._memory[first : first + size].reshape(shape)
        self.array[...] = np.nan
        self._before = self._memory[:first]
        self._after = self._memory[first + size :]

    def check(self) -> None:
        sentinel = self._memory.dtype.type(SENTINEL)
        assert (self._before == sentinel).all(), "written before the output"
        assert (self._after == sentinel).all(), "written past its end"


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


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a shell that runs pytest in the background makes it ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
