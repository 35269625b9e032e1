"""Batch normalisation in training, and its gradients."""

from __future__ import annotations

from collections.abc import Callable

from shapes import cases_of

from alexnet.comparison.cases import Case
from alexnet.network.layers import BatchNorm

CASES = cases_of(BatchNorm)


def bench_batch_norm(
    case: Case, peer: str, mode: str, measure: Callable[[Case, str, str], None]
) -> None:
    measure(case, peer, mode)
