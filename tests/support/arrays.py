"""Random arrays, sizes, guarded outputs and the measure of errors for the operators' tests."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from alexnet.arrays import aligned_empty
from alexnet.verification import tolerance

# Around every multiple of a vector (4, 8, 16 lanes) and of the register tiles (6, 14, 16, 32).
TAIL_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100)

# Largest relative L2 error of a matrix product, whatever its depth. A chain of n fused
# multiply-adds of terms without a preferred sign has partial sums that grow as sqrt(k); rounding
# the k-th adds a variance of u**2 * k * t**2 / 6 (u = 2**-24, t the size of a term; 1/6 is uniform
# rounding, averaged over mantissas), so the chain ends u * sqrt(n / 12) off, relative to a sum of
# sqrt(n) * t. Drivers cut longer sums into chains of at most 2048 (cpp/cpu/gemm.h), which gives
# u * sqrt(2048 / 12) = 7.8e-7; adding up a hundred such chains another u * sqrt(100 / 12) = 1.7e-7.
LARGEST_PRODUCT_ERROR = 1e-6

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

    def get(self) -> npt.NDArray[np.float32]:
        """The output, after a look at the sentinels."""
        self.check()
        return self.array

    def check(self) -> None:
        sentinel = self._memory.dtype.type(SENTINEL)
        assert (self._before == sentinel).all(), "written before the output"
        assert (self._after == sentinel).all(), "written past its end"
