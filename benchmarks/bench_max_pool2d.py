"""Max-pooling and its gradient."""

from __future__ import annotations

from collections.abc import Callable

from shapes import cases_of

from alexnet.comparison.cases import Case
from alexnet.network.layers import MaxPool2d

CASES = cases_of(MaxPool2d)


def bench_max_pool2d(
    case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]
) -> None:
    measure(case, peer, mode)
