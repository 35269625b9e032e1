"""How close a contender's results are: to float64, and in what they say of images.

The error of a network's forward is the relative L2 error of its output against the same network in
float64 (`alexnet.reference`), for the first few images of the batch, since that takes seconds an
image. Gradients and single layers are compared with ours, as there the question is only whether all
do the same work. Of a trained network it also counts for how many images the largest output is that
of ours in float32: that is what reduced precision may cost a user.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alexnet import reference
from alexnet.comparison.agreement import largest_error
from alexnet.comparison.benchmark import FORWARD
from alexnet.comparison.cases import Arrays, Case, NetworkCase
from alexnet.contract.arguments import AnyArray
from alexnet.network.variants import AlexNet
from alexnet.verification.tolerance import relative_error

EXACT_IMAGES = 4  # in float64


@dataclass(frozen=True)
class Accuracy:
    """The relative L2 error, and the share of images with the same class as ours in float32."""

    error: float
    agreement: float | None = None


EXACT = Accuracy(0.0)


def exact_output(case: Case, operands: Arrays) -> AnyArray | None:
    """Output of a network in float64 for its first images; None of what is no forward."""
    if not isinstance(case, NetworkCase) or case.target != FORWARD:
        return None
    network = AlexNet(case.variant, seed=None, implementation=reference)
    network.assign({**network.tensors(), **{k: v for k, v in operands.items() if k != "x"}})
    y: AnyArray = network.forward(operands["x"][:EXACT_IMAGES])
    return y


def accuracy(
    case: Case, actual: Arrays, expected: Arrays, exact: AnyArray | None, *, is_trained: bool
) -> Accuracy:
    """Compare results with ours in float32 and, where there are such, with those in float64.

    Raises
    ------
    DisagreementError
        They differ from ours by more than rounding explains.
    """
    error = largest_error(case, actual, expected)
    if exact is None:
        return Accuracy(error)
    y = actual["y"]
    share = agreement(y, expected["y"]) if is_trained else None
    return Accuracy(relative_error(y[: len(exact)], exact), share)


def agreement(actual: AnyArray, expected: AnyArray) -> float:
    """Share of the images, (batch, classes), whose largest output is the same."""
    return float(np.mean(actual.argmax(axis=1) == expected.argmax(axis=1)))
