"""Convolution with bias: forward, gradient of the input, gradient of weight and bias."""

from __future__ import annotations

from collections.abc import Callable

from shapes import cases_of

from alexnet.comparison.cases import Case
from alexnet.network.layers import Conv2d

CASES = cases_of(Conv2d)


def bench_conv2d(
    case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]
) -> None:
    measure(case, peer, mode)
