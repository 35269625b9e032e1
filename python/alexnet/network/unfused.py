"""What a network does on an implementation that offers no `fused` module: every layer by itself.

The names are those of `alexnet.cpu.fused`, which says what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alexnet.arrays import Array

CALLS_ARE_RECORDED = False
PRODUCTS_PASS_RELU = False


def fusion(operations: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Say that nothing computes several of `operations` in one pass."""


def move_average(average: Array, share: float, value: Array, factor: float) -> None:
    """Move a running average by a share of the way towards `factor` times a value, in place."""
    average += share * (factor * value - average)
