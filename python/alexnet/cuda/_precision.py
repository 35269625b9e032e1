"""The arithmetic that the products of convolutions and dense layers are asked to use."""

from __future__ import annotations

import cupy

PRECISIONS = ("float32", "tf32")
FIRST_WITH_TF32 = 80  # compute capability: Ampere


def is_tf32(operator: str, precision: str) -> bool:
    """Check `precision`, and that the current device has it; whether it is "tf32"."""
    if precision not in PRECISIONS:
        raise ValueError(f"{operator}: precision is {precision!r}, expected one of {PRECISIONS}")
    if precision == "tf32" and int(cupy.cuda.Device().compute_capability) < FIRST_WITH_TF32:
        raise ValueError(
            f"{operator}: precision is 'tf32', which the current device, of compute capability "
            f"{cupy.cuda.Device().compute_capability}, does not have; use 'float32'"
        )
    return precision == "tf32"
