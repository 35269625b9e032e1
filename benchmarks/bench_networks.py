"""Whole networks: forward in inference, forward and backward to every parameter."""

from __future__ import annotations

from collections.abc import Callable

from shapes import Case, network_cases

CASES = network_cases()


def bench_networks(case: Case, mode: str, measure: Callable[[Case, str], None]) -> None:
    measure(case, mode)
