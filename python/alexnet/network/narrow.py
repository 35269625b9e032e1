"""What a network in bfloat16 hands on in bfloat16, and what it computes in one pass for that.

What only layers read that round it anyway is handed on rounded, to the same bits: half of the bytes
go through memory. A convolution and the pooling behind it are then one pass: the convolution's
result stays in the caches.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise

from alexnet.arrays import Array
from alexnet.cpu import bfloat16
from alexnet.network.layer import Context, Layer
from alexnet.network.layers import Conv2d, Dense, Dropout, Flatten, MaxPool2d
from alexnet.network.plan import Fusion


def find_narrow(layers: Sequence[Layer], rounding: Container[str]) -> list[int]:
    """Find the layers whose output only layers read that round it anyway.

    They are those that round themselves, whose names are `rounding`, and poolings behind them: the
    largest number is the same one before and after rounding. Views, and dropout in inference, pass
    on what they read.
    """
    rounds = [type(layer) in (Conv2d, Dense) and layer.name in rounding for layer in layers]
    is_rounded = [False]  # whether what layer i reads is, from the last to the first
    for layer, does_round in zip(reversed(layers), reversed(rounds), strict=True):
        passes_on = type(layer) in (MaxPool2d, Flatten, Dropout)
        is_rounded.append(does_round or (passes_on and is_rounded[-1]))
    is_rounded.reverse()
    narrow: list[int] = []
    is_narrow = False  # whether what the layer reads is
    for index, layer in enumerate(layers):
        if type(layer) in (Flatten, Dropout):
            continue  # what is behind them reads what they read
        pools = type(layer) is MaxPool2d and is_narrow
        is_narrow = (rounds[index] or pools) and is_rounded[index + 1]
        if is_narrow:
            narrow.append(index)
    return narrow


def narrow_fusions(
    layers: Sequence[Layer], contexts: Sequence[Context], narrow: Container[int]
) -> dict[int, Fusion]:
    """Find the convolutions that are computed together with the pooling behind them."""
    fusions: dict[int, Fusion] = {}
    for index, (layer, following) in enumerate(pairwise(layers)):
        both_narrow = index in narrow and index + 1 in narrow
        if both_narrow and isinstance(layer, Conv2d) and isinstance(following, MaxPool2d):
            fusions[index] = ConvolutionMaxPool2d(layer, contexts[index], following)
    return fusions


class ConvolutionMaxPool2d:
    """A convolution with packed weights and the pooling behind it, both in bfloat16."""

    length = 2  # layers

    def __init__(self, convolution: Conv2d, context: Context, pool: MaxPool2d) -> None:
        self._convolution, self._context, self._pool = convolution, context, pool

    def forward(self, x: Array, out: Array, training: bool) -> tuple[Array, ...]:  # noqa: ARG002
        """Convolve and pool; a network in bfloat16 does not train."""
        convolution, context = self._convolution, self._context
        bfloat16.conv2d_max_pool2d(
            x,
            context.packed,
            context.parameters.get("bias"),
            stride=convolution.stride,
            padding=convolution.padding,
            activation=convolution.activation,
            pool=self._pool.settings(),
            out=out,
        )
        return ()

    def backward(
        self, dy: Array, x: Array, saved: tuple[Array, ...], through_relu: bool, dx: Array
    ) -> None:
        """NotImplementedError: the network has refused before."""
        raise NotImplementedError("backward: precision 'bfloat16' is for inference alone")
