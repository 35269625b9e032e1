"""A network's step, made again without going through its layers.

A step on a batch as large as the one before makes the same calls on the same arrays, but for those
that the caller gives or gets. So the kernels are called with the arguments that passed the checks
the first time, and with the caller's arrays of today.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet.arrays import Array
from alexnet.recording import Call


class Replay:
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

    def run(self, given: Sequence[Array]) -> bool:
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


def _overlap(array: Array, other: Any) -> bool:
    return isinstance(other, np.ndarray) and np.may_share_memory(array, other)
