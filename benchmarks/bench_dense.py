"""Dense layer with bias: forward, gradient of the input, gradient of weight and bias."""

from __future__ import annotations

from collections.abc import Callable

from shapes import Case, layer_cases

from alexnet.layers import Dense

CASES = layer_cases(Dense)


def bench_dense(case: Case, mode: str, measure: Callable[[Case, str], None]) -> None:
    measure(case, mode)
