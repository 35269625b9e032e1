"""The memory of a network's activations and their gradients, made once for the largest batch.

The batch is the first axis, so a smaller batch takes the front part of every buffer: evaluating
on other batch sizes between training steps makes nothing new.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from alexnet.arrays import Array, ArrayKind
from alexnet.contract.arguments import Shape
from alexnet.network.variant import Variant


def shaped(flat: Array, shape: Shape) -> Array:
    """View the leading elements of a flat buffer as an array of `shape`."""
    return flat[: math.prod(shape)].reshape(shape)


def _references(array: Array) -> int:
    """Count the references to the array that owns the memory of `array`."""
    return sys.getrefcount(array if array.base is None else array.base)


class OutputPool:
    """Buffers for results that are handed out and must not change while anyone holds them.

    Two flat buffers are kept. One is used again only when no array outside refers to its memory,
    which its reference count tells: a NumPy view always refers to the array that owns the memory,
    however many views were taken on the way. When both are held, a new buffer takes the place of
    the older; its holder keeps the old one alive. So ``y = net.forward(x)`` in a loop allocates
    nothing, and results collected in a list are all kept.
    """

    def __init__(self, kind: ArrayKind, size: int) -> None:
        self._kind = kind
        self._size = size
        self._buffers = [kind.empty((size,)) for _ in range(2)]
        self._unheld = _references(self._buffers[0])

    def acquire(self, shape: Shape) -> Array:
        """Return an array of `shape`, at most the pool's size, in a buffer nobody else holds."""
        for index in range(len(self._buffers)):
            if _references(self._buffers[index]) == self._unheld:
                break
        else:
            index = 0
            self._buffers[index] = self._kind.empty((self._size,))
        self._buffers.append(self._buffers.pop(index))
        return shaped(self._buffers[-1], shape)


class Buffers:
    """Where every layer of a network writes its output, and where the outputs' gradients stand.

    Outputs are all kept until the next forward, since backward reads them; the last one comes from
    an `OutputPool`. Of the gradients only two are alive at a time, so they take turns in two
    buffers. Those of the layers `between` have a third, since they may be left out: the ones before
    and after them are then alive together.

    Layers of `narrow` write their output in that dtype, which takes no more than the kind's own.
    """

    def __init__(
        self,
        kind: ArrayKind,
        variant: Variant,
        between: Collection[int] = (),
        narrow: Mapping[int, np.dtype[Any]] = MappingProxyType({}),
    ) -> None:
        self._kind = kind
        self._variant = variant
        self._narrow = narrow
        self._owners = _owners(variant)
        self._turns = _turns(variant, between)
        # The layers whose output is in the memory that goes to the caller.
        self.handed_out = [
            index
            for index, owner in enumerate(self._owners)
            if owner is not None and owner == self.last_owner and not self._is_view(index)
        ]
        self._capacity = -1
        self._pool: OutputPool | None = None
        self._outputs: dict[int, Array] = {}
        self._gradients: list[Array] = []
        self._input_gradient: Array = None

    @property
    def last_owner(self) -> int | None:
        """The layer in whose buffer the network's output is; None: the network makes views only."""
        return self._owners[-1]

    @property
    def capacity(self) -> int:
        """The largest batch size that there is memory for; -1 before the first."""
        return self._capacity

    def reserve(self, batch_size: int) -> None:
        """Make the memory anew, for a batch as large as this one."""
        self._capacity = -1  # until all is there: it may be too much
        self._pool, self._outputs, self._gradients, self._input_gradient = None, {}, [], None
        for index, shape in enumerate(self.shapes(batch_size)):
            if index == self._owners[-1]:
                self._pool = OutputPool(self._kind, math.prod(shape))
            elif index == self._owners[index]:
                self._outputs[index] = self._kind.empty((math.prod(shape),))
        self._capacity = batch_size

    def shapes(self, batch_size: int) -> list[Shape]:
        """Shape of each layer's output."""
        return self._variant.shapes(batch_size)[1:]

    def outputs(self, batch_size: int) -> list[Array]:
        """For each layer the array that its output goes to; None for views and `handed_out`."""
        arrays: list[Array] = []
        for index, shape in enumerate(self.shapes(batch_size)):
            owner = self._owners[index]
            if owner is None or index in self.handed_out or self._is_view(index):
                arrays.append(None)
            else:
                flat = self._outputs[owner]
                dtype = self._narrow.get(index)
                arrays.append(shaped(flat if dtype is None else flat.view(dtype), shape))
        return arrays

    def _is_view(self, index: int) -> bool:
        return self._variant.layers[index].memory == "view"

    def hand_out(self, shape: Shape) -> Array:
        """Array for the output of `last_owner`, in memory that nobody holds."""
        assert self._pool is not None
        return self._pool.acquire(shape)

    def gradients(self, batch_size: int) -> list[Array]:
        """For each layer the array of its output's gradient.

        A layer that works in its input's memory has its input's gradient there too.
        """
        if not self._gradients:
            sizes = [0, 0, 0]
            for turn, shape in zip(self._turns, self.shapes(self._capacity), strict=True):
                sizes[turn] = max(sizes[turn], math.prod(shape))
            self._gradients = [self._kind.empty((size,)) for size in sizes]
        return [
            shaped(self._gradients[turn], shape)
            for turn, shape in zip(self._turns, self.shapes(batch_size), strict=True)
        ]

    def input_gradient(self, batch_size: int) -> Array:
        """Array of the gradient of the network's input."""
        image_shape = self._variant.input_shape
        if self._input_gradient is None:
            self._input_gradient = self._kind.empty((self._capacity * math.prod(image_shape),))
        return shaped(self._input_gradient, (batch_size, *image_shape))


def _owners(variant: Variant) -> list[int | None]:
    """For each layer the one in whose buffer its output is; None: in the caller's input."""
    owners: list[int | None] = []
    owner = None
    for index, layer in enumerate(variant.layers):
        if layer.memory == "own" or (layer.memory == "in place" and owner is None):
            owner = index
        owners.append(owner)
    return owners


def _turns(variant: Variant, between: Collection[int]) -> list[int]:
    """For each layer which of the gradient buffers its output's gradient is in."""
    turns: list[int] = []
    turn = 0
    for index, layer in enumerate(variant.layers):
        if layer.memory == "own" and index not in between:
            turn = 1 - turn
        turns.append(2 if index in between else turn)
    return turns
