"""Convolution and dense layers whose weights stay as they are: what is made of them is kept.

A convolution packs its weights into panels, or transforms them, at every call. Where the weights
don't change, that is done once (`pack_conv2d`), and the operators here take what came of it in the
place of the weights. They compute the same bits as their namesakes in `alexnet.cpu`. A dense layer
reads its weights where they lie, so there is nothing to keep.

This is what a network uses that is frozen (`Network.freeze`); nothing is checked again of weights
that change after all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alexnet import _cpu
from alexnet.arrays import ArrayKind
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, Size2d
from alexnet.contract.shapes import Conv2dShape, Padding
from alexnet.cpu._arrays import FloatArray, as_input, check_input, make_output, plain_inputs
from alexnet.cpu.dense import dense as dense  # which takes what `pack_dense` gives
from alexnet.recording import call_kernel

_FLOAT32 = ArrayKind(np.dtype(np.float32))


class PackedConv2d:
    """Weights of a convolution, and what they were made into for its shapes so far.

    Which algorithm serves a convolution depends on the images and the batch, and what it makes of
    the weights on the images; it is made when the first such shape asks for it, and kept for each
    size of images. Threads may share it: two that ask at the same time may both make it, and the
    same.
    """

    def __init__(self, weight: FloatArray, groups: int) -> None:
        self.weight = weight
        self.groups = groups
        self._prepared: dict[tuple[Conv2dShape, str, str], FloatArray] = {}

    def prepared(self, shape: Conv2dShape, algorithm: str, isa: str) -> FloatArray | None:
        """Return what the algorithm takes in that instruction set; None: the weights themselves."""
        size = _cpu.prepared_weight_size(shape, algorithm)
        if size == 0:
            return None
        key = replace(shape, batch=0), algorithm, isa
        array = self._prepared.get(key)
        if array is None:
            array = _FLOAT32.empty((size,))
            _cpu.prepare_weight(shape, self.weight, algorithm, array)
            self._prepared[key] = array
        return array


def pack_conv2d(weight: AnyArray, groups: int = 1) -> PackedConv2d:
    """Weights (kernel_height, kernel_width, in / groups, out), float32, as `conv2d` takes them."""
    return PackedConv2d(as_input("pack_conv2d", "weight", weight), groups)


def pack_dense(weight: AnyArray) -> FloatArray:
    """Weights (in, out), float32, as `dense` takes them: as they are."""
    return as_input("pack_dense", "weight", weight)


def conv2d(
    x: AnyArray,
    packed: PackedConv2d,
    bias: AnyArray | None = None,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    activation: str | None = None,
    out: AnyArray | None = None,
) -> FloatArray:
    """`alexnet.cpu.conv2d` with the weights and groups of `packed`, to the bit."""
    x = check_input("conv2d", "x", x)
    bias = None if bias is None else check_input("conv2d", "bias", bias)
    weight = packed.weight
    shape = calls.check_conv2d(x, weight, bias, stride, padding, packed.groups, activation, "auto")
    x, bias = plain_inputs(x, bias)
    y = make_output("conv2d", "out", out, shape.output_shape, {"x": x, "bias": bias})
    algorithm, isa = _cpu.conv2d_choice(shape, "forward"), _cpu.cpu_isa()
    arguments = (shape, x, weight, bias, activation == "relu", algorithm, y)
    prepared = packed.prepared(shape, algorithm, isa)
    if prepared is None:
        call_kernel(_cpu.conv2d, *arguments)
    else:
        call_kernel(_cpu.conv2d_prepared, *arguments, prepared, isa)
    return y
