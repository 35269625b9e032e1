"""What a network keeps of weights that don't change, and that they don't.

The kernels make something of the weights of convolutions and, in bfloat16, of dense layers: packed
panels, transforms, roundings. A frozen network has it made once and keeps it. For that, nothing may
change its parameters and state: their arrays are read-only as long as it is frozen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from alexnet import cpu
from alexnet.arrays import Array
from alexnet.contract.arguments import check_choice
from alexnet.network.layer import Layer
from alexnet.network.layers import Conv2d
from alexnet.network.mixed_precision import FLOAT16
from alexnet.network.parameter_memory import ParameterMemory
from alexnet.network.variant import Variant
from alexnet.ops import implementation_on
from alexnet.runtime import cpu_bfloat16

FLOAT32, TF32, BFLOAT16 = "float32", "tf32", "bfloat16"
PRECISIONS = (FLOAT32, TF32, BFLOAT16, FLOAT16)
TILES = "amx"


def operators_on(device: str, precision: str) -> ModuleType:
    """Find the module whose operators run on `device` in `precision`.

    In 16 bits it is that of float32: on the CPU the freezer packs for bfloat16, and the operators
    of a device go by the dtype of their arrays.

    Raises
    ------
    ValueError
        There is no such device or precision, or the device does not have the precision.
    NotImplementedError
        The device can't be used here; the text says why.
    """
    operators = implementation_on(device)
    check_choice("network", "precision", precision, PRECISIONS)
    if precision == TF32:
        if device == "cpu":
            raise ValueError("network: precision is 'tf32', which only device 'cuda' has")
        return import_module("alexnet.cuda.tf32")
    if precision == FLOAT16 and device == "cpu":
        raise ValueError(
            "network: precision is 'float16', which only device 'cuda' has; device 'cpu' has "
            "'bfloat16', for inference"
        )
    return operators


def _packing(precision: str, layer: Layer) -> ModuleType:
    """Find what packs weights of a layer on the CPU, and computes with what it packed.

    Convolutions are faster in bfloat16 on tiles (AMX) only: elsewhere Winograd's algorithm in
    float32 does with a fraction of the products (docs/kernels/bfloat16.md).
    """
    is_bfloat16 = precision == BFLOAT16
    if isinstance(layer, Conv2d):
        is_bfloat16 = is_bfloat16 and cpu_bfloat16() == TILES
    return import_module("alexnet.cpu.bfloat16" if is_bfloat16 else "alexnet.cpu.frozen")


class Freezer:
    """Freezes and unfreezes parameters and state, which it is given to keep for that.

    Entered by one thread at a time, while no pass runs. `packed` has, by a layer's name, the module
    that computes with packed weights and what it made of the layer's: another mapping whenever that
    has changed, and an empty one unless they are frozen.
    """

    def __init__(
        self,
        variant: Variant,
        operators: ModuleType,
        precision: str,
        parameters: ParameterMemory,
        states: Sequence[Mapping[str, Array]],
    ) -> None:
        self._variant = variant
        self._parameters = parameters
        self._states = states
        self.precision = precision
        self._packs = operators is cpu
        self.is_for_inference = precision == BFLOAT16 and self._packs
        self.packed: Mapping[str, tuple[ModuleType, Any]] = {}
        self.is_frozen = False

    def rounds(self, layer: str) -> bool:
        """Whether a layer multiplies in bfloat16."""
        return layer in self.packed and self.packed[layer][0].__name__ == "alexnet.cpu.bfloat16"

    @property
    def dtype_between(self) -> np.dtype[Any] | None:
        """Narrower dtype in which a layer may hand its output to others that round what they read.

        They would round it to bfloat16 anyway, so the bits are the same, and half of
        the bytes go through memory. None without the package ml_dtypes, which names the dtype.
        """
        if not self.is_for_inference or find_spec("ml_dtypes") is None:
            return None
        bfloat16: np.dtype[Any] = np.dtype(import_module("ml_dtypes").bfloat16)
        return bfloat16

    def freeze(self) -> None:
        """Pack the weights, and make all arrays read-only."""
        if self.is_frozen:
            return
        if self._packs:
            packed = {}
            for layer, shape in zip(self._variant.layers, self._variant.shapes(1), strict=False):
                own = self._parameters.of(layer.name, layer.parameter_shapes(shape))
                packing = _packing(self.precision, layer)
                packed[layer.name] = packing, layer.packed(packing, own)
            self.packed = {name: made for name, made in packed.items() if made[1] is not None}
        self._set_writeable(False)
        self.is_frozen = True

    def unfreeze(self) -> None:
        """Have arrays that may be written to, and nothing packed."""
        self.packed = {}
        self._set_writeable(True)
        self.is_frozen = False

    def check_may_change(self, subject: str) -> None:
        """RuntimeError if they are frozen."""
        if self.is_frozen:
            raise RuntimeError(
                f"{subject}: the network is frozen, so nothing may change it; call its unfreeze() "
                "first, and freeze() again afterwards"
            )

    def check_may_train(self, subject: str) -> None:
        """NotImplementedError in bfloat16 on the CPU; RuntimeError if they are frozen."""
        self.check_has_gradients(subject)
        self.check_may_change(subject)

    def check_has_gradients(self, subject: str) -> None:
        """NotImplementedError in bfloat16 on the CPU."""
        if self.is_for_inference:
            raise NotImplementedError(
                f"{subject}: precision 'bfloat16' on the CPU is for inference alone; train a "
                "network in float32, or on device 'cuda', save it, and load it with "
                "precision='bfloat16'"
            )

    def _set_writeable(self, writeable: bool) -> None:
        for array in self._all_arrays():
            if isinstance(array, np.ndarray):  # CuPy's arrays have no such flag
                array.flags.writeable = writeable

    def _all_arrays(self) -> Iterable[Array]:
        memory = self._parameters
        yield from (memory.whole, memory.weights, memory.others, *memory.arrays.values())
        for state in self._states:
            yield from state.values()
