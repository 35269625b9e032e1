"""What a framework has to provide in order to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alexnet.comparison.cases import FLOAT32, Arrays, Case


@dataclass(frozen=True)
class Job:
    """A case made ready: weights loaded, inputs in the framework's own layout.

    `run` does the work once, to its end; the result stays in the framework. `outputs` turns such a
    result into arrays in the project's layouts: of a layer by the names of
    `LayerCase.result_shapes`, of a network "y" and the gradients of the parameters by their full
    names, of a training step "loss" and what it added to each parameter. `precision` names what
    its products are computed in, as far as the framework tells.
    """

    run: Callable[[], Any]
    outputs: Callable[[Any], Arrays]
    precision: str = FLOAT32


class Peer(ABC):
    """A framework in this process, on a fixed number of threads."""

    @abstractmethod
    def __init__(self, threads: int) -> None: ...

    @abstractmethod
    def version(self) -> str:
        """Name and version, for the heading of a table."""

    @abstractmethod
    def modes(self, case: Case) -> tuple[str, ...]:
        """All ways to run the case, the default one first; none if it cannot."""

    def contenders(self, case: Case) -> tuple[str, ...]:
        """Those of the modes that a comparison runs, each in a process of its own."""
        return self.modes(case)

    @abstractmethod
    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        """Make the case ready. The arrays of `operands` may be used in place, not changed."""


def updates(after: Arrays, operands: Arrays) -> Arrays:
    """Subtract the parameters before a training step from those after it."""
    return {name: array - operands[name] for name, array in after.items()}
