"""What is compared, as data: a layer in one direction, or a network whole.

A case has a name such as ``tf-tutorial/conv2/forward/b32``: network, layer (``network`` for the
whole), direction and batch size. It knows its operands, its results and its work, and nothing of
the framework that runs it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.comparison.benchmark import FORWARD, FORWARD_BACKWARD, IMAGE_STDDEV, step_flops
from alexnet.contract.arguments import Shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, MaxPool2d
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]

# Forward in inference; forward and backward of sum(y**2) / 2 to every parameter; forward in
# training, softmax cross-entropy, backward, and an update by Adam with its usual constants.
TRAINING_STEP = "training-step"
NETWORK_TARGETS = (FORWARD, FORWARD_BACKWARD, TRAINING_STEP)

# In what the frameworks are asked to compute: float32, bfloat16 with sums in float32, or nothing
# said at all, so that each does what it does by itself.
FLOAT32, BFLOAT16, DEFAULT = "float32", "bfloat16", "default"
PRECISIONS = (FLOAT32, BFLOAT16, DEFAULT)
ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

PRODUCT_DIRECTIONS = ("forward", "backward_input", "backward_weight")
DIRECTIONS: dict[type[Layer], tuple[str, ...]] = {
    Conv2d: PRODUCT_DIRECTIONS,
    Dense: PRODUCT_DIRECTIONS,
    LRN: ("forward", "backward"),
    MaxPool2d: ("forward", "backward"),
    BatchNorm: ("forward", "backward"),
}


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
        """Name of the case, as above."""
        return f"{self.network}/{self.layer.name}/{self.direction}/b{self.batch_size}"

    @property
    def input_shape(self) -> Shape:
        """Shape of x, batch first."""
        return (self.batch_size, *self.image_shape)

    @property
    def output_shape(self) -> Shape:
        """Shape of y, batch first."""
        return self.layer.output_shape(self.input_shape)

    @property
    def parameter_shapes(self) -> dict[str, Shape]:
        """Shapes of the layer's parameters by their short names."""
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
        parameters = self.parameter_shapes
        weight = {name: shape for name, shape in parameters.items() if name == "weight"}
        return {
            "forward": {**x, **parameters},
            "backward_input": {**dy, **weight},
            "backward_weight": {**dy, **x},
            "backward": {**dy, **x, **parameters},
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
    """A whole network, to one of `NETWORK_TARGETS`, in one of `PRECISIONS`.

    Raises
    ------
    ValueError
        Training a network with dropout, whose masks every framework draws differently, or one
        that does not end in classes by cross-entropy; anything but forward in another precision
        than float32.
    """

    variant: Variant
    target: str
    batch_size: int
    precision: str = FLOAT32

    def __post_init__(self) -> None:
        if self.target == FORWARD:
            return
        if self.precision != FLOAT32:
            raise ValueError(
                f"{self.target}: only {FORWARD} can be compared in precision {self.precision}"
            )
        if any(isinstance(layer, Dropout) for layer in self.variant.layers):
            raise ValueError(
                f"{self.target}: {self.variant.name} has dropout, which every framework draws "
                f"differently; only {FORWARD} can be compared"
            )
        if self.target == TRAINING_STEP and len(self.variant.output_shape) != 1:
            raise ValueError(
                f"{self.target}: the output of {self.variant.name} is "
                f"{self.variant.output_shape}, expected classes"
            )

    @property
    def name(self) -> str:
        """Name of the case, as above."""
        name = f"{self.variant.name}/network/{self.target}/b{self.batch_size}"
        return name if self.precision == FLOAT32 else f"{name}/{self.precision}"

    @property
    def kinks(self) -> int:
        """How many layers have a gradient that jumps: ReLU and max-pool."""
        return sum(
            isinstance(layer, MaxPool2d) or getattr(layer, "activation", None) is not None
            for layer in self.variant.layers
        )

    @property
    def flops(self) -> int:
        """FLOP of the products, as `alexnet bench` counts them."""
        return step_flops(self.variant, self.batch_size, self.target)

    @property
    def bytes(self) -> int:
        """Not counted: what a network has to move depends on what stays in caches."""
        return 0

    def operands(self) -> Arrays:
        """Images as "x", and the network's parameters and state by their full names.

        A training step has "labels" (batch,) as well, int64.
        """
        generator = np.random.default_rng(0)
        shape = (self.batch_size, *self.variant.input_shape)
        images = generator.standard_normal(shape, np.float32) * np.float32(IMAGE_STDDEV)
        network = AlexNet(self.variant, seed=0)
        state = {name: array for name, array in network.state.items() if name != "generator"}
        arrays = {"x": images, **network.parameters, **state}
        if self.target == TRAINING_STEP:
            classes = self.variant.output_shape[0]
            arrays["labels"] = generator.integers(0, classes, self.batch_size, np.int64)
        return arrays

    def layers(self, tensors: Mapping[str, Any]) -> Iterator[tuple[Layer, Shape, dict[str, Any]]]:
        """Every layer, its input's shape, and those of the tensors that it owns by short names."""
        shapes = self.variant.shapes(self.batch_size)
        for layer, shape in zip(self.variant.layers, shapes, strict=False):
            prefix = f"{layer.name}."
            own = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            yield layer, shape, own


Case: TypeAlias = LayerCase | NetworkCase


def layer_cases(variant: Variant, batch_size: int) -> list[LayerCase]:
    """All layers that have kernels, in each direction; products without their activation.

    The first layer of a network has no gradient of its input to compute.
    """
    return [
        LayerCase(variant.name, _bare(layer), shape, direction, batch_size)
        for index, (layer, shape) in enumerate(
            zip(variant.layers, variant.image_shapes, strict=False)
        )
        for direction in DIRECTIONS.get(type(layer), ())
        if index > 0 or direction != "backward_input"
    ]


def _bare(layer: Layer) -> Layer:
    if isinstance(layer, Conv2d | Dense | BatchNorm):
        return dataclasses.replace(layer, activation=None)
    return layer
