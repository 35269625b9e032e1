"""A plain run in bfloat16, as PyTorch's autocast makes it: what our errors are measured by.

Convolutions and dense layers round their input, their weights and their result; everything else,
and the sums, are as exact as float32. It has the reference's operators, on float32 arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference

Array = npt.NDArray[Any]


def rounded(array: Array) -> Array:
    """The nearest bfloat16 of each number, ties to even, as float32."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return nearest.astype(np.uint32).view(np.float32)


class _PlainBfloat16(ModuleType):
    def __init__(self) -> None:
        super().__init__("plain_bfloat16")

    def __getattr__(self, name: str) -> Callable[..., object]:
        operator: Callable[..., Any] = getattr(reference, name)
        if name not in ("conv2d", "dense"):
            return operator

        def product(x: Array, weight: Array, *others: Any, out: Array, **settings: Any) -> Array:
            out[...] = rounded(operator(rounded(x), rounded(weight), *others, **settings))
            return out

        return product


PLAIN_BFLOAT16 = _PlainBfloat16()
