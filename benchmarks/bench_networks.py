"""Whole networks: inference, forward and backward to every parameter, steps of training."""

from __future__ import annotations

from collections.abc import Callable

from shapes import network_cases

from alexnet.comparison.cases import Case

CASES = network_cases()


def bench_networks(
    case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]
) -> None:
    measure(case, peer, mode)
