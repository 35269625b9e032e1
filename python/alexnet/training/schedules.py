"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from alexnet.contract.arguments import (
    LARGEST_SIZE,
    check_choice,
    check_int,
    check_number,
    make_plain,
)


def _constant(progress: float) -> float:  # noqa: ARG001 - the kinds share one signature
    return 1.0


def _step(progress: float) -> float:
    """Divide by 10 after half of the run and again after three quarters (He et al. 2015)."""
    return 0.01 if progress >= 0.75 else 0.1 if progress >= 0.5 else 1.0


def _cosine(progress: float) -> float:
    """Half a cosine from 1 to 0, without restarts (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
}


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step of a run.

    Parameters
    ----------
    kind
        "constant"; "step": divided by 10 after half of the steps and again after three quarters;
        "cosine": half a cosine, down to 0.
    learning_rate
        The highest one, above 0.
    steps
        Length of the run. Steps beyond it have the last one's rate.
    warm_up
        Steps, part of `steps`, over which the rate rises in equal parts to `learning_rate`; the
        rest follows `kind`.

    Raises
    ------
    TypeError, ValueError
        An argument is out of range.

    """

    kind: str
    learning_rate: float
    steps: int
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_choice("schedule", "kind", self.kind, tuple(SCHEDULES))
        check_number("schedule", "learning_rate", self.learning_rate, above=0)
        check_int("schedule", "steps", self.steps, 1, LARGEST_SIZE)
        check_int("schedule", "warm_up", self.warm_up, 0, LARGEST_SIZE)
        make_plain(self)

    def __call__(self, step: int) -> float:
        """Learning rate of step number `step`, counted from 0."""
        step = check_int("schedule", "step", step, 0, LARGEST_SIZE)
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        last = max(self.steps - 1, self.warm_up)
        progress = (min(step, last) - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * SCHEDULES[self.kind](progress)
