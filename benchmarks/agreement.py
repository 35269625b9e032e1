"""Whether two frameworks computed the same: checked before anything is timed."""

from __future__ import annotations

from shapes import Arrays, Case, NetworkCase

from alexnet.tolerance import relative_error

TOLERANCE = 1e-4  # relative, L2, of each result

# Gradients of a whole network jump where ReLU or max-pooling changes side: an activation within
# rounding of zero passes its gradient on in one framework and drops it in the other. One such
# element in 1000 units of a layer is an error of some 1e-3 behind it; a wrong formula one of 1e-1.
KINK_TOLERANCE = 2e-2


class DisagreementError(Exception):
    """Two results differ by more than rounding explains."""


def largest_error(case: Case, actual: Arrays, expected: Arrays) -> float:
    """Largest relative L2 error of the results; raises where one is over its tolerance, or NaN."""
    if actual.keys() != expected.keys():
        raise DisagreementError(
            f"{case.name}: results are {sorted(actual)}, expected {sorted(expected)}"
        )
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    for name, error in errors.items():
        through_kinks = isinstance(case, NetworkCase) and name != "y"
        tolerance = KINK_TOLERANCE if through_kinks else TOLERANCE
        if not error <= tolerance:
            raise DisagreementError(
                f"{case.name}: {name} differs by {error:.1e} from ours, tolerance {tolerance:.0e}"
            )
    return max(errors.values())
