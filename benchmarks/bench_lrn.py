"""Local response normalisation and its gradient, which recomputes from x what forward computed."""

from __future__ import annotations

from collections.abc import Callable

from shapes import Case, layer_cases

from alexnet.layers import LRN

CASES = layer_cases(LRN)


def bench_lrn(case: Case, mode: str, measure: Callable[[Case, str], None]) -> None:
    measure(case, mode)
