"""Convolution with bias: forward, gradient of the input, gradient of weight and bias."""

from __future__ import annotations

from collections.abc import Callable

from shapes import Case, layer_cases

from alexnet.layers import Conv2d

CASES = layer_cases(Conv2d)


def bench_conv2d(case: Case, mode: str, measure: Callable[[Case, str], None]) -> None:
    measure(case, mode)
