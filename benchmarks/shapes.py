"""What is measured, as data: every layer of the benchmarked networks, and the networks whole.

A case has a name such as ``tf-tutorial/conv2/forward/b32``: network, layer (``network`` for the
whole), direction and batch size. It knows its operands, its results and its work, and nothing of
the framework that runs it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.benchmark import FORWARD, IMAGE_STDDEV, TARGETS, step_flops
from alexnet.checks import Shape
from alexnet.layer import Layer
from alexnet.layers import LRN, BatchNorm, Conv2d, Dense, MaxPool2d
from alexnet.models import AlexNet, variant_named
from alexnet.variant import Variant

Arrays: TypeAlias = Mapping[str, npt.NDArray[np.float32]]

LAYER_NETWORKS = ("tf-tutorial", "tf-full", "cifar10-bn")
BATCH_SIZES = (32, 1)  # backward with the first one only: nobody trains on single images

# Operands and results of each direction, beside the layer's parameters.
PRODUCT_DIRECTIONS = ("forward", "backward_input", "backward_weight")
DIRECTIONS = {
    Conv2d: PRODUCT_DIRECTIONS,
    Dense: PRODUCT_DIRECTIONS,
    LRN: ("forward", "backward"),
    MaxPool2d: ("forward", "backward"),
    BatchNorm: ("forward", "backward"),
}


def _weight_of(shapes: dict[str, Shape]) -> dict[str, Shape]:
    return {name: shape for name, shape in shapes.items() if name == "weight"}


@dataclass(frozen=True)
class LayerCase:
    """One layer at its own size, in one direction. `image_shape` is its input's, without batch."""

    network: str
    layer: Layer
    image_shape: Shape
    direction: str
    batch_size: int

    @property
    def name(self) -> str:
        return f"{self.network}/{self.layer.name}/{self.direction}/b{self.batch_size}"

    @property
    def input_shape(self) -> Shape:
        return (self.batch_size, *self.image_shape)

    @property
    def output_shape(self) -> Shape:
        return self.layer.output_shape(self.input_shape)

    @property
    def parameter_shapes(self) -> dict[str, Shape]:
        return self.layer.parameter_shapes(self.input_shape)

    @property
    def result_shapes(self) -> dict[str, Shape]:
        """Shape of every array that the direction computes, by name."""
        gradients = {f"d{name}": shape for name, shape in self.parameter_shapes.items()}
        return {
            "forward": {"y": self.output_shape},
            "backward_input": {"dx": self.input_shape},
            "backward_weight": gradients,
            "backward": {"dx": self.input_shape, **gradients},
        }[self.direction]

    @property
    def operand_shapes(self) -> dict[str, Shape]:
        """Shape of every array that the direction reads, by name."""
        x, dy = {"x": self.input_shape}, {"dy": self.output_shape}
        return {
            "forward": {**x, **self.parameter_shapes},
            "backward_input": {**dy, **_weight_of(self.parameter_shapes)},
            "backward_weight": {**dy, **x},
            "backward": {**dy, **x, **self.parameter_shapes},
        }[self.direction]

    @property
    def flops(self) -> int:
        """FLOP of the products, two for each MAC; the same in each direction."""
        return 2 * self.layer.macs(self.input_shape)

    @property
    def bytes(self) -> int:
        """What has to be moved at least: every operand and every result once."""
        shapes = [*self.operand_shapes.values(), *self.result_shapes.values()]
        return 4 * sum(map(math.prod, shapes))

    def operands(self) -> Arrays:
        """Random arrays for x, dy and the parameters, the same at every call."""
        generator = np.random.default_rng(0)
        shapes = {"x": self.input_shape, "dy": self.output_shape, **self.parameter_shapes}
        return {
            name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()
        }


@dataclass(frozen=True)
class NetworkCase:
    """A whole network: forward in inference, or forward and backward to all its parameters."""

    variant: Variant
    target: str
    batch_size: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}/network/{self.target}/b{self.batch_size}"

    @property
    def flops(self) -> int:
        return step_flops(self.variant, self.batch_size, self.target)

    @property
    def bytes(self) -> int:
        """Not counted: what a network has to move depends on what stays in caches."""
        return 0

    def operands(self) -> Arrays:
        """Images as "x", and the network's parameters and state by their full names."""
        images = np.random.default_rng(0).standard_normal(
            (self.batch_size, *self.variant.input_shape), np.float32
        )
        network = AlexNet(self.variant, seed=0)
        state = {name: array for name, array in network.state.items() if name != "generator"}
        return {"x": images * np.float32(IMAGE_STDDEV), **network.parameters, **state}


Case: TypeAlias = LayerCase | NetworkCase


def layer_cases(kind: type[Layer]) -> list[LayerCase]:
    """All layers of one kind, convolution and dense layers without their activation.

    The first layer of a network has no gradient of its input to compute.
    """
    cases = []
    for network in LAYER_NETWORKS:
        variant = variant_named(network)
        for index, layer in enumerate(variant.layers):
            if not isinstance(layer, kind):
                continue
            for batch_size in BATCH_SIZES:
                for direction in DIRECTIONS[kind]:
                    first_only = direction != "forward"
                    if first_only and batch_size != BATCH_SIZES[0]:
                        continue
                    if index == 0 and direction == "backward_input":
                        continue
                    bare = (
                        dataclasses.replace(layer, activation=None)
                        if hasattr(layer, "activation")
                        else layer
                    )
                    shape = variant.image_shapes[index]
                    cases.append(LayerCase(network, bare, shape, direction, batch_size))
    return cases


def network_cases() -> list[NetworkCase]:
    """The networks that other frameworks publish times of, with LRN and without."""
    tutorial = variant_named("tf-tutorial")
    bare = dataclasses.replace(tutorial.without_lrn(), name="tf-tutorial-without-lrn")
    others = [variant_named(name) for name in ("tf-small", "tf-full", "cifar10-bn")]
    return [
        NetworkCase(variant, target, batch_size)
        for variant in (tutorial, bare, *others)
        for batch_size in BATCH_SIZES
        for target in TARGETS
        if target == FORWARD or batch_size == BATCH_SIZES[0]
    ]


def all_cases() -> list[Case]:
    """Networks first, then layers by kind."""
    return [*network_cases(), *(case for kind in DIRECTIONS for case in layer_cases(kind))]
