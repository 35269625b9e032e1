"""Batch normalisation in training, and its gradients."""

from __future__ import annotations

from collections.abc import Callable

from shapes import Case, layer_cases

from alexnet.layers import BatchNorm

CASES = layer_cases(BatchNorm)


def bench_batch_norm(case: Case, mode: str, measure: Callable[[Case, str], None]) -> None:
    measure(case, mode)
