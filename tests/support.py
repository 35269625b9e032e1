"""What the operator tests share: error measure, guarded outputs, odd sizes."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

import alexnet

# ALEXNET_ISA narrows a run to one instruction set; otherwise every one of this machine is tested.
ISAS = (os.environ["ALEXNET_ISA"],) if os.environ.get("ALEXNET_ISA") else alexnet.available_isas()

# Around every multiple of a vector (4, 8, 16 lanes) and of the register tiles (6, 14, 16, 32).
TAIL_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 100)

GUARD = 64  # floats before and after a guarded array
SENTINEL = np.float32(-123456.789)


def relative_error(actual: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """L2 norm of the difference over that of `expected`; NaN anywhere gives NaN or infinity.

    Compare as ``error <= bound``, which NaN fails.
    """
    actual = np.asarray(actual, np.float64)
    expected = np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if actual.size == 0:
        return 0.0
    norm = float(np.linalg.norm(expected.ravel()))
    difference = float(np.linalg.norm((actual - expected).ravel()))
    if norm == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / norm


def random_array(seed: int, *shape: int, scale: float = 1.0) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) * scale).astype(np.float32)


class Guarded:
    """An output array between two runs of sentinels, itself filled with NaN.

    A kernel that leaves an element unwritten leaves NaN; one that writes outside changes a
    sentinel, which `check` finds.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> None:
        size = int(np.prod(shape))
        self._memory = np.full(size + 2 * GUARD, SENTINEL, dtype)
        self.array = self._memory[GUARD : GUARD + size].reshape(shape)
        self.array[...] = np.nan

    def check(self) -> None:
        sentinel = self._memory.dtype.type(SENTINEL)
        assert (self._memory[:GUARD] == sentinel).all(), "written before the output"
        assert (self._memory[self._memory.size - GUARD :] == sentinel).all(), "written past its end"
