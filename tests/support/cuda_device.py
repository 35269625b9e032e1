"""`alexnet.cuda` for the tests: on a GPU where there is one, else its kernels emulated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import alexnet
from alexnet.verification import tolerance
from alexnet.verification.hosted import hosted
from cuda_emulation import load
from support.arrays import GUARD, SENTINEL, largest_product_error

if alexnet.cuda_obstacle():
    load.load(load.path())

import cupy

from alexnet import cuda

__all__ = ["PRECISIONS", "GuardedOnDevice", "cuda", "cupy", "largest_error", "on_device", "on_host"]

on_host = hosted(cuda)

Array = npt.NDArray[np.float32]

PRECISIONS = ("float32", "tf32")

# tf32 has 10 bits of mantissa: rounding to nearest moves an operand m * 2**e, 1 <= m < 2, by an
# error that is uniform within 2**-11 * 2**e. Relative to the operand that is 2**-11 / sqrt(3) in
# the root mean square for m = 1, the worst, and 2**-11 / sqrt(3) / sqrt(7 / 3) for m spread evenly.
# A product has two such errors, sqrt(2) times one, and a sum of products with independent errors is
# as far off as one of them, whatever their number: 2.6e-4 is expected, 4.0e-4 the worst. The bound,
# (1 + 2**-11)**2 - 1, is what a single product can reach; sums round as those of float32 do.
TF32_PRODUCT_ERROR = (1 + 2.0**-11) ** 2 - 1
# An operand that is not rounded gives less than this: half of what is expected.
LEAST_TF32_ERROR = 1.3e-4


def largest_error(depth: int, precision: str) -> float:
    """Bound of the relative L2 error of sums of `depth` products."""
    if precision == "tf32":
        return TF32_PRODUCT_ERROR + tolerance.product_bound(depth)
    return largest_product_error(depth)


def on_device(array: Array, *, offset: int = 0) -> Any:
    """A copy on the device, `offset` floats behind what is aligned."""
    memory = cupy.empty((array.size + offset,), cupy.float32)
    memory[offset:] = cupy.asarray(array.ravel())
    return memory[offset:].reshape(array.shape)


class GuardedOnDevice:
    """An output on the device between two runs of sentinels, itself filled with NaN.

    `offset` floats behind what is aligned to 256 bytes.
    """

    def __init__(self, shape: tuple[int, ...], offset: int = 0) -> None:
        size = int(np.prod(shape))
        self._begin, self._end = GUARD + offset, GUARD + offset + size
        values = np.full(size + offset + 2 * GUARD, SENTINEL, np.float32)
        values[self._begin : self._end] = np.nan
        self._memory = cupy.asarray(values)
        self.array = self._memory[self._begin : self._end].reshape(shape)

    def get(self) -> Array:
        """The output on the host, after a look at the sentinels."""
        memory = self._memory.get()
        assert (memory[: self._begin] == SENTINEL).all(), "written before the output"
        assert (memory[self._end :] == SENTINEL).all(), "written past its end"
        return memory[self._begin : self._end].reshape(self.array.shape)
