"""Max-pooling and its gradient."""

from __future__ import annotations

from collections.abc import Callable

from shapes import Case, layer_cases

from alexnet.layers import MaxPool2d

CASES = layer_cases(MaxPool2d)


def bench_max_pool2d(case: Case, mode: str, measure: Callable[[Case, str], None]) -> None:
    measure(case, mode)
