"""Fixtures of the operator tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Thousands of small calls: where other programs keep the processors busy, threads that spin while
# they wait would make each of them last a time slice. Read when the library loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import alexnet
import support


@pytest.fixture(params=support.ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test once with the kernels of each instruction set."""
    before = alexnet.cpu_isa()
    alexnet.set_cpu_isa(request.param)
    yield request.param
    alexnet.set_cpu_isa(before)


@pytest.fixture(autouse=True)
def _restore_threads() -> Iterator[None]:
    before = alexnet.get_num_threads()
    yield
    alexnet.set_num_threads(before)
