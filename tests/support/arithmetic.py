"""Arithmetic as callers may have set it up: other roundings, no subnormal numbers."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

LIBM = ctypes.CDLL("libm.so.6")
# fenv_t of glibc, as words: which one has the bits that switch subnormals off, and those bits.
FENV_WORDS = 64
CONTROL, NO_SUBNORMALS = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}[platform.machine()]
ROUNDINGS = {
    "x86_64": {"downwards": 0x400, "upwards": 0x800, "towards zero": 0xC00},
    "aarch64": {"downwards": 0x800000, "upwards": 0x400000, "towards zero": 0xC00000},
}[platform.machine()]
ARITHMETICS = ("without subnormals", *ROUNDINGS)


@contextmanager
def arithmetic(kind: str) -> Iterator[None]:
    """Compute in another arithmetic, of this thread; it must be the same still at the end."""
    before, changed, after = ((ctypes.c_uint * FENV_WORDS)() for _ in range(3))
    LIBM.fegetenv(before)
    try:
        if kind in ROUNDINGS:
            assert LIBM.fesetround(ROUNDINGS[kind]) == 0
        else:
            LIBM.fegetenv(changed)
            changed[CONTROL] |= NO_SUBNORMALS
            LIBM.fesetenv(changed)
        yield
        LIBM.fegetenv(after)
        assert LIBM.fegetround() == ROUNDINGS.get(kind, 0)
        off = after[CONTROL] & NO_SUBNORMALS
        assert off == (NO_SUBNORMALS if kind == "without subnormals" else 0)
    finally:
        LIBM.fesetenv(before)
