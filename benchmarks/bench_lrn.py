"""Local response normalisation and its gradient, which recomputes from x what forward computed."""

from __future__ import annotations

from collections.abc import Callable

from shapes import cases_of

from alexnet.comparison.cases import Case
from alexnet.network.layers import LRN

CASES = cases_of(LRN)


def bench_lrn(case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]) -> None:
    measure(case, peer, mode)
