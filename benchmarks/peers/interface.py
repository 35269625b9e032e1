"""What a framework has to provide in order to be measured.

Nothing here imports the project: its compiled module brings an OpenMP runtime along, and a
framework that comes first gets its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shapes import Arrays, Case


@dataclass(frozen=True)
class Job:
    """A case made ready: weights loaded, inputs in the framework's own layout.

    `run` does the work once; its result stays in the framework. `outputs` turns such a result into
    arrays in the project's layouts, by the names of `LayerCase.result_shapes`; for a network "y"
    and, by their full names, the gradients of the parameters.
    """

    run: Callable[[], Any]
    outputs: Callable[[Any], Arrays]


class Peer(ABC):
    """A framework in this process, on a fixed number of threads."""

    @abstractmethod
    def __init__(self, threads: int) -> None: ...

    @abstractmethod
    def version(self) -> str:
        """Name and version, for the heading of a table."""

    @abstractmethod
    def modes(self, case: Case) -> tuple[str, ...]:
        """All ways to run the case, the default one first."""

    def contenders(self, case: Case) -> tuple[str, ...]:
        """Those of the modes that a comparison runs, each in a process of its own."""
        return self.modes(case)

    @abstractmethod
    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        """Make the case ready. The arrays of `operands` may be used in place, not changed."""
