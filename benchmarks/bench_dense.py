"""Dense layer with bias: forward, gradient of the input, gradient of weight and bias."""

from __future__ import annotations

from collections.abc import Callable

from shapes import cases_of

from alexnet.comparison.cases import Case
from alexnet.network.layers import Dense

CASES = cases_of(Dense)


def bench_dense(
    case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]
) -> None:
    measure(case, peer, mode)
