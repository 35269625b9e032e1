"""Arrays of the shapes of a network's parameters, one behind the other in one piece of memory.

An optimizer, which works on each number for itself, then takes all of them in one call: eighteen
parameters are no more work in Python than one, and threads share the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from alexnet.arrays import Array, ArrayKind
from alexnet.contract.arguments import Shape

ALIGNMENT = 128  # elements: every array begins with a cache line, and with 512 bytes as CuPy's do


class ParameterMemory:
    """Zeros for each of `shapes`, by full name such as "conv1.weight".

    `arrays` are views, in the order of `shapes`, of a flat one, the `whole`: first of `weights`,
    those of that name, which weight decay acts on, then of `others`. What lies between them belongs
    to none, and stays zero as long as its gradient is.
    """

    def __init__(self, kind: ArrayKind, shapes: Mapping[str, Shape]) -> None:
        begins: dict[str, int] = {}
        size = weights_size = 0
        for name in sorted(shapes, key=_is_weight, reverse=True):  # a stable order
            begins[name] = size
            size += -(-math.prod(shapes[name]) // ALIGNMENT) * ALIGNMENT
            if _is_weight(name):
                weights_size = size
        memory = kind.zeros((size,))
        self.whole: Array = memory
        self.weights: Array = memory[:weights_size]
        self.others: Array = memory[weights_size:]
        self.arrays: dict[str, Array] = {
            name: memory[begins[name] : begins[name] + math.prod(shape)].reshape(shape)
            for name, shape in shapes.items()
        }

    def of(self, layer: str, names: Iterable[str]) -> dict[str, Array]:
        """Those of one layer, by their short names."""
        return {name: self.arrays[f"{layer}.{name}"] for name in names}


def _is_weight(name: str) -> bool:
    return name.endswith(".weight")
