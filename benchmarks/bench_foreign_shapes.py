"""Convolutions far from AlexNet's: `foreign_shapes.py` prints the same as one table."""

from __future__ import annotations

from collections.abc import Callable

from shapes import foreign_cases

from alexnet.comparison.cases import Case

CASES = foreign_cases()


def bench_foreign_shapes(
    case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]
) -> None:
    measure(case, peer, mode)
