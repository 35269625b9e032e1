"""A layer's step, made again on the same arrays without going through the layer.

The second time that a layer is given the arrays of the time before, the kernels are called with the
arguments that passed the checks then. Nothing else is left out: all that a layer of `REPLAYED` does
is to run calls that are recorded, and to leave arrays for its backward.
"""

from __future__ import annotations

from operator import is_
from typing import Any

from alexnet.arrays import Array
from alexnet.layer import Context, Step
from alexnet.recording import Call, recorded


class Replay:
    """One direction of one layer of a network."""

    def __init__(self) -> None:
        self._given: tuple[Any, ...] = ()
        self._calls: list[Call] = []
        self._saved: tuple[Array, ...] = ()
        self._result: Array = None

    def run(self, step: Step, context: Context, x: Array, out: Array) -> Array:
        """Return ``step(context, x, out)``, or what it would, having called the same kernels.

        The arrays must be the network's own: references to them are kept.
        """
        arrays = (x, out, context.x, context.y, context.dy_buffer, *context.saved)
        given = (context.training, *arrays)
        if len(self._given) == len(given) and all(map(is_, self._given, given)):
            for function, arguments in self._calls:
                function(*arguments)
            context.saved = self._saved
        else:
            self._given = ()
            with recorded() as self._calls:
                self._result = step(context, x, out)
            self._given, self._saved = given, context.saved
        return self._result
