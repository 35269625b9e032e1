"""LRN and max pooling of its output as one layer: what the fused ladders compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference
from alexnet.comparison.cases import LayerCase
from alexnet.contract.arguments import AnyArray, Shape, Size2d
from alexnet.contract.shapes import Padding
from alexnet.network.layers import LRN, MaxPool2d
from alexnet.network.variant import Variant


@dataclass(frozen=True)
class LRNMaxPool2d(LRN):
    """LRN, then max pooling. Backward goes on through the ReLU that x comes from."""

    window: Size2d = 3
    stride: Size2d = 2
    padding: Padding = "valid"
    ceil_mode: bool = False

    @property
    def lrn(self) -> LRN:
        """The first half alone."""
        return LRN(self.name, self.depth_radius, self.bias, self.alpha, self.beta)

    @property
    def pool(self) -> MaxPool2d:
        """The second half alone."""
        return MaxPool2d(self.name, self.window, self.stride, self.padding, self.ceil_mode)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(batch, height, width, channels) with fewer rows and columns."""
        return self.pool.output_shape(input_shape)

    def expected(self, arrays: dict[str, npt.NDArray[np.float64]]) -> AnyArray:
        """Compute y of x, or dx of dy and x, by `alexnet.reference`."""
        x = arrays["x"]
        normalised: Any = reference.lrn(x, **self.lrn.settings())
        if "dy" not in arrays:
            return reference.max_pool2d(normalised, **self.pool.settings())
        between: Any = reference.max_pool2d_backward(
            arrays["dy"], normalised, **self.pool.settings()
        )
        return reference.lrn_backward(between, x, **self.lrn.settings(), through_relu=True)


def pair_cases(variant: Variant, batch_size: int) -> Iterator[LayerCase]:
    """Every LRN of a network that a max pooling follows, both as one layer, in each direction."""
    layers = zip(variant.layers, variant.image_shapes, strict=False)
    for (first, shape), (second, _) in pairwise(layers):
        if isinstance(first, LRN) and isinstance(second, MaxPool2d):
            settings = {**first.settings(), **second.settings()}
            layer = LRNMaxPool2d(first.name, **settings)
            for direction in ("forward", "backward"):
                yield LayerCase(variant.name, layer, shape, direction, batch_size)
