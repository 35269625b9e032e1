"""Every operator but products on the odd shapes that `alexnet verify` runs."""

from __future__ import annotations

import numpy as np
import pytest

from alexnet.random import Generator
from alexnet.verification import odd_shapes
from alexnet.verification.hosted import CHANGED_IN_PLACE
from alexnet.verification.verify import Comparison
from support.implementations import Implementation

CALLS = list(odd_shapes.calls(Generator(1)))
# Convolutions and dense layers have shapes of their own, in test_conv2d.py and test_dense.py.
OTHERS = sorted(
    {call.operator for call in CALLS if not call.operator.startswith(("conv", "dense"))}
)


@pytest.mark.parametrize("operator", OTHERS)
def test_odd_shapes_within_the_bounds_of_verify(on: Implementation, operator: str) -> None:
    comparison = Comparison((on.name,), on.kernels)
    calls = [call for call in CALLS if call.operator == operator]
    for call in calls:
        getattr(comparison.operators, call.operator)(*call.arguments, **call.options)
    assert len(comparison.checks) >= len(calls) > 0
    assert [check for check in comparison.checks if not check.passed] == []


@pytest.mark.parametrize("operator", sorted({*OTHERS} - {*CHANGED_IN_PLACE}))
def test_same_bits_on_every_run(on: Implementation, operator: str) -> None:
    """CUDA's emulation runs blocks and threads in another order each time."""
    for call in CALLS:
        if call.operator == operator:
            runs = [getattr(on, operator)(*call.arguments, **call.options) for _ in range(3)]
            for run in runs[1:]:
                np.testing.assert_equal(run, runs[0])
