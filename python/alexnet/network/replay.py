"""A plan's passes, made again without going through its steps.

A pass on a batch as large as the one before makes the same calls on the same arrays, but for those
that the caller gives or gets. So the calls of kernels are recorded once and made again, with the
arguments that passed the checks the first time, and with the caller's arrays of today.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alexnet.arrays import Array
from alexnet.network.layer import Layer
from alexnet.network.layers import is_known
from alexnet.network.plan import Plan
from alexnet.recording import Call, recorded


class Recording:
    """Calls to make again, with other arrays in the place of `given`.

    Each of `given` is known among the arguments by its identity, and not kept.
    """

    def __init__(self, calls: Sequence[Call], given: Sequence[Array]) -> None:
        self._shapes = [array.shape for array in given]
        self._calls: list[Call] = []
        # Of the calls that take some of them: which, by the position of the argument.
        self._open: dict[int, dict[int, int]] = {}
        for number, (function, arguments) in enumerate(calls):
            places = {
                position: index
                for position, argument in enumerate(arguments)
                for index, array in enumerate(given)
                if argument is array
            }
            if places:
                self._open[number] = places
            others = (None if at in places else argument for at, argument in enumerate(arguments))
            self._calls.append(Call(function, tuple(others)))

    def make(self, given: Sequence[Array]) -> bool:
        """Make the calls; False, and nothing done, if the first time's checks don't hold for them.

        The arrays must be of the dtype that they had then, and C-contiguous.
        """
        if [array.shape for array in given] != self._shapes:
            return False
        calls = self._calls.copy()
        for number, places in self._open.items():
            function, noted = calls[number]
            filled = list(noted)
            for position, index in places.items():
                filled[position] = given[index]
                if any(_overlap(given[index], other) for other in noted):
                    return False
            calls[number] = Call(function, tuple(filled))
        for function, arguments in calls:
            function(*arguments)
        return True


def _overlap(array: Array, other: object) -> bool:
    return isinstance(other, np.ndarray) and np.may_share_memory(array, other)


def can_replay(layers: Sequence[Layer]) -> bool:
    """Whether the passes of these layers can be made again, where their calls are recorded.

    That is sure of the known layers only, not of subclasses. The first has to take the images as
    they are, and the last but for views to write what is handed out, none of them a view of it.
    """
    computing = [layer for layer in layers if layer.memory != "view"]
    return (
        len(computing) > 0
        and layers[0].memory == computing[-1].memory == "own"
        and all(is_known(layer) for layer in layers)
    )


class Replay:
    """A plan all of whose kernel calls can be recorded; `forward` and `backward` are the plan's.

    The views at the end of a plan make no calls, and are taken as steps every time.
    """

    def __init__(self, plan: Plan) -> None:
        self._computing, self._views = plan.split()
        self._first = self._computing.steps[0].contexts[0]
        self._last = self._computing.steps[-1].contexts[-1]
        self._recordings: dict[tuple[str, bool], Recording] = {}

    def forget(self) -> None:
        """Forget the calls: the contexts are another pass's now."""
        self._recordings.clear()

    def forward(self, x: Array, out: Array, training: bool) -> Array:
        """Compute the output for x; `out` is the memory that the caller is handed."""
        recording = self._recordings.get(("forward", training))
        if recording is not None and recording.make((x, out)):
            self._first.x, self._last.y = x, out
        else:
            self.forget()  # the calls of backward, too: they go by what a forward left
            with recorded() as calls:
                self._computing.forward(x, out, training)
            self._recordings["forward", training] = Recording(calls, (x, out))
        y = out
        for step in self._views:
            y = step.forward(y, out, training)
        return y

    def backward(self, dy: Array, dx: Array) -> Array:
        """Fill the parameters' gradients and, unless it is None, `dx`, the gradient of the input.

        After a forward of this replay, whatever was computed from what it left.
        """
        for step in reversed(self._views):
            dy = step.backward(dy, None)
        kind = ("backward", dx is not None)
        given = (dy, self._first.x, self._last.y)
        recording = self._recordings.get(kind)
        if recording is None or not recording.make(given):
            with recorded() as calls:
                self._computing.backward(dy, dx)
            self._recordings[kind] = Recording(calls, given)
        return dx
