"""Our networks in bfloat16 beside PyTorch's autocast: at most twice its error against float64.

Not among the tests that plain `pytest` collects, since it needs PyTorch:
`pip install ".[test,peers]" && pytest tests/frameworks`.
"""

from __future__ import annotations

import pytest

from alexnet.comparison.accuracy import accuracy, exact_output
from alexnet.comparison.benchmark import FORWARD
from alexnet.comparison.cases import BFLOAT16, FLOAT32, NetworkCase
from alexnet.comparison.peers.interface import Peer
from alexnet.comparison.peers.ours import PEER as OURS
from alexnet.comparison.peers.torch import PEER as TORCH
from alexnet.network.variants import VARIANTS, variant_named
from support.small_networks import small_variant

MOST_OF_TORCH = 2  # times its error


def error_of(peer: Peer, mode: str, case: NetworkCase) -> float:
    operands = case.operands()
    exact = exact_output(case, operands)
    job = peer.prepare(case, mode, operands)
    expected = {"y": exact} if exact is not None else {}
    result = {name: array[: len(expected[name])] for name, array in job.outputs(job.run()).items()}
    assert case.precision in job.precision
    return accuracy(case, result, expected, exact, is_trained=False).error


@pytest.mark.parametrize("name", [*VARIANTS, "whole tf-tutorial"])
def test_error_against_float64(name: str) -> None:
    whole = name.removeprefix("whole ")
    variant = variant_named(whole) if whole != name else small_variant(name)
    case = NetworkCase(variant, FORWARD, 2, BFLOAT16)
    ours = error_of(OURS(2), OURS(2).modes(case)[0], case)
    torch = error_of(TORCH(2), "autocast eager channels_last", case)
    internal = error_of(TORCH(2), "fp32_precision eager channels_last", case)
    assert ours <= MOST_OF_TORCH * torch
    assert torch > 1e-4  # it did round
    assert internal > 1e-4
    exact = error_of(TORCH(2), "eager nchw", NetworkCase(variant, FORWARD, 2, FLOAT32))
    assert exact < 1e-4  # and stopped
