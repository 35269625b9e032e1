"""Whether two frameworks computed the same: checked before anything is timed.

Errors are relative, in the L2 norm of a whole result.

Gradients of a whole network jump where ReLU or max-pooling changes side. Two correct forwards
differ by some e of a layer's size; where activations are spread like a normal distribution, about
the share e of them lies so close to a jump that it falls to the other side, and passes its whole
gradient on in one framework and none in the other: an error of sqrt(e) of the layer's gradient.
After k such layers, errors adding as independent ones do, it is sqrt(k * e). With e = 1e-5, the
most that a layer may be off (`alexnet.verification.tolerance`), that is 9e-3 for the eight of
tf-tutorial. A wrong formula is off by more than ten times that.

Adam's first step moves every parameter by the learning rate in the direction of its gradient's
sign. Gradients within their error of zero may have either sign: the share d of them where the
gradients differ by d, each off by twice the step, so 2 * sqrt(d) of the update.
"""

from __future__ import annotations

import math

from alexnet.comparison.cases import FLOAT32, TRAINING_STEP, Arrays, Case, NetworkCase
from alexnet.verification.tolerance import WINOGRAD, relative_error

TOLERANCE = 1e-4  # of a layer's results and a network's output or loss
BFLOAT16_ROUNDING = 2.0**-8  # relative, of one number, at most; 0.4 of it in the mean square


class DisagreementError(Exception):
    """Two results differ by more than rounding explains."""


def gradient_tolerance(case: NetworkCase) -> float:
    """Largest relative error of a network's gradients, as derived above."""
    return math.sqrt(case.kinks * WINOGRAD)


def reduced_tolerance(case: NetworkCase) -> float:
    """Largest relative error of an output in bfloat16 or coarser float16, against float32.

    A layer rounds its input, its weights and perhaps its output; the errors of random terms add as
    independent ones do, so a network of n layers is off by about 0.4 * sqrt(3 * n) roundings. The
    bound is six times that, for frameworks that also sum in bfloat16 what is no product.
    """
    return 4 * BFLOAT16_ROUNDING * math.sqrt(len(case.variant.layers))


def tolerance(case: Case, result: str) -> float:
    """Largest relative error of the result of that name."""
    if isinstance(case, NetworkCase) and case.precision != FLOAT32:
        return reduced_tolerance(case)
    if not isinstance(case, NetworkCase) or result in ("y", "loss"):
        return TOLERANCE
    if case.target == TRAINING_STEP:
        return 2 * math.sqrt(gradient_tolerance(case))
    return gradient_tolerance(case)


def largest_error(case: Case, actual: Arrays, expected: Arrays) -> float:
    """Largest relative error of the results; raises where one is over its tolerance, or NaN."""
    if actual.keys() != expected.keys():
        raise DisagreementError(f"results are {sorted(actual)}, expected {sorted(expected)}")
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    for name, error in errors.items():
        bound = tolerance(case, name)
        if not error <= bound:
            raise DisagreementError(
                f"{name} differs by {error:.1e} from ours, tolerance {bound:.0e}"
            )
    return max(errors.values())
