"""What a network in bfloat16 or float16 on a device has beside its float32 arrays.

    images -> rounded -> activations in 16 bits -> float32 output
    parameters, float32 -> rounded copy, whose weights convolutions and dense layers read
    dy -> rounded (float16: times the loss scale) -> gradients of activations in 16 bits
                                                  -> gradients of parameters, float32

Parameters, running statistics, gradients and an optimizer's arrays are those of a network in
float32 (master weights, Micikevicius et al., arXiv 1710.03740), and so are its files. The steps of
an optimizer write parameters and copy. What else may have changed parameters has the next forward
make the copy anew; where they were handed out, every forward does, as they may be written to at
any time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from alexnet.arrays import Array, ArrayKind
from alexnet.contract.arguments import Shape
from alexnet.network.buffers import shaped
from alexnet.network.parameter_memory import ParameterMemory

FLOAT16 = "float16"


class MixedPrecision:
    """What all threads of a network share: the copy of its parameters, and the loss scale.

    Attributes
    ----------
    kind
        Of the activations.
    copies
        The parameters, rounded.
    is_current
        Whether the copies are those of the parameters, as far as the network knows.
    are_handed_out
        Whether somebody else has the parameters' arrays, and may write to them.
    loss_scale
        `alexnet.cuda.mixed_precision.LossScale` in float16, None in bfloat16, which has the range
        of float32.

    """

    def __init__(
        self,
        precision: str,
        arrays: ArrayKind,
        parameters: ParameterMemory,
        shapes: Mapping[str, Shape],
    ) -> None:
        self.module: Any = import_module("alexnet.cuda.mixed_precision")
        self.kind = replace(arrays, dtype=self.module.dtype_of(precision))
        self.copies = ParameterMemory(self.kind, shapes)
        self.is_current = self.are_handed_out = False
        self.loss_scale = self.module.LossScale() if precision == FLOAT16 else None
        self._arrays = arrays
        self._parameters = parameters

    def refresh(self) -> None:
        """Round the parameters again if they may have changed."""
        if self.are_handed_out or not self.is_current:
            self.module.convert(self._parameters.whole, self.copies.whole)
            self.is_current = True

    def widened(self, array: Array) -> Array:
        """Give the same in float32, in memory of its own."""
        return self.module.convert(array, self._arrays.empty(array.shape))


class Casts:
    """What goes in and out of one thread's passes.

    `overflow`, in float16, is an array of the device: 1 where the last backward had a gradient that
    is not finite. None in bfloat16.
    """

    def __init__(self, shared: MixedPrecision) -> None:
        self._shared = shared
        self._images: Array = None
        has_overflow = shared.loss_scale is not None
        self.overflow: Array = shared.kind.module.zeros((1,), "uint32") if has_overflow else None

    @property
    def copies(self) -> ParameterMemory:
        """The rounded parameters."""
        return self._shared.copies

    def images(self, x: Array) -> Array:
        """Round images, into memory that keeps them until the next forward."""
        size = math.prod(x.shape)
        if self._images is None or self._images.size < size:
            self._images = self._shared.kind.empty((size,))
        return self._shared.module.convert(x, shaped(self._images, x.shape))

    def output(self, y: Array) -> Array:
        """Give an output to the caller, who may keep it."""
        return self._shared.widened(y)

    def output_gradient(self, dy: Array) -> Array:
        """Round the gradient that a backward begins with, times the loss scale."""
        out = self._shared.kind.empty(dy.shape)
        if self._shared.loss_scale is None:
            return self._shared.module.convert(dy, out)
        return self._shared.loss_scale.scaled(dy, out, self.overflow)

    def input_gradient(self, dx: Array) -> Array:
        """Give the gradient of the images to the caller."""
        wide = self._shared.widened(dx)
        self.unscale(wide)
        return wide

    def unscale(self, gradients: Array) -> None:
        """Divide float32 gradients by the loss scale, in place."""
        if self._shared.loss_scale is not None:
            self._shared.loss_scale.unscale(gradients, self.overflow)
