"""A network as data: what its layers are, how it starts, and what follows from that without arrays.

The description travels with saved weights as JSON, so a file says by itself how to build the
network that it belongs to. Reading one makes only the classes listed here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from alexnet import initializers
from alexnet.checks import (
    LARGEST_SIZE,
    Shape,
    check_extent_tuple,
    check_extents,
    check_instance,
    check_int,
    check_number,
    shown,
)
from alexnet.initializers import HeNormal, Initialisation
from alexnet.layer import Layer
from alexnet.layers import LAYERS, LRN, Conv2d, Dense
from alexnet.summary import Summary, SummaryRow

DEFAULT_INITIALISATION = Initialisation(HeNormal())


@dataclass(frozen=True)
class Variant:
    """A sequence of layers for images of one size.

    `input_shape` is (height, width, channels). Building one checks that the layers fit together:
    ValueError or TypeError names the layer and the argument.
    """

    name: str
    description: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    initialisation: Initialisation = DEFAULT_INITIALISATION

    def __post_init__(self) -> None:
        check_instance("variant", "name", self.name, str)
        check_instance(self.name, "description", self.description, str)
        check_instance(self.name, "initialisation", self.initialisation, Initialisation)
        check_instance(self.name, "layers", self.layers, (tuple, list))
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise TypeError(
                f"{self.name}: layers is {shown(self.layers)}, expected a tuple of layers"
            )
        object.__setattr__(self, "layers", tuple(self.layers))
        names = [layer.name for layer in self.layers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{self.name}: layers repeat the names {', '.join(repeated)}")
        shape = check_extent_tuple(self.name, "input_shape", self.input_shape)
        check_extents(self.name, "input_shape", shape, first=1)
        object.__setattr__(self, "input_shape", shape)
        _ = self.image_shapes  # which checks every layer

    # --- sizes ------------------------------------------------------------------------------------

    @cached_property
    def image_shapes(self) -> tuple[Shape, ...]:
        """Shape of one image and of every layer's output for it, without the batch."""
        shapes = [(1, *self.input_shape)]
        for layer in self.layers:
            shapes.append(layer.output_shape(shapes[-1]))
        return tuple(shape[1:] for shape in shapes)

    def shapes(self, batch_size: int) -> list[Shape]:
        """Shape of the input and of every layer's output, one more than there are layers."""
        return [(batch_size, *shape) for shape in self.image_shapes]

    @property
    def output_shape(self) -> Shape:
        """Shape of one image's output, without the batch."""
        return self.image_shapes[-1]

    def parameter_shapes(self) -> dict[str, Shape]:
        """Shape of every trainable array by its full name, such as "conv1.weight"."""
        return {
            f"{layer.name}.{name}": shape
            for layer, input_shape in zip(self.layers, self.shapes(1), strict=False)
            for name, shape in layer.parameter_shapes(input_shape).items()
        }

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def summary(self, batch_size: int = 32) -> Summary:
        """Shapes, neurons, parameters and MACs of every layer; nothing of their size is made."""
        shapes = self.shapes(check_int(self.name, "batch_size", batch_size, 0, LARGEST_SIZE))
        rows = tuple(
            SummaryRow(
                name=layer.name,
                kind=type(layer).__name__,
                output_shape=output_shape,
                neurons=layer.neurons((1, *input_shape[1:])),
                parameters=sum(map(math.prod, layer.parameter_shapes(input_shape).values())),
                macs=layer.macs((1, *input_shape[1:])),
            )
            for layer, input_shape, output_shape in zip(
                self.layers, shapes[:-1], shapes[1:], strict=True
            )
        )
        return Summary(self.name, shapes[0], rows)

    # --- variations -------------------------------------------------------------------------------

    def without_lrn(self) -> Variant:
        """Leave out local response normalisation."""
        layers = tuple(layer for layer in self.layers if not isinstance(layer, LRN))
        return dataclasses.replace(self, layers=layers)

    def with_classes(self, num_classes: int) -> Variant:
        """Change the number of classes.

        Raises
        ------
        ValueError
            The network has no classifier: it ends in feature maps.
        """
        if len(self.output_shape) != 1:
            raise ValueError(
                f"{self.name}: num_classes is {num_classes}, but the network has no classifier: "
                f"an image's output has shape {self.output_shape}"
            )
        num_classes = check_int(self.name, "num_classes", num_classes, 1, LARGEST_SIZE)
        return self._with_features({self._products()[-1].name: num_classes})

    def shrunk(self, *, image_size: int | None = None, width: float = 1.0) -> Variant:
        """Make the same layers with fewer features, for smaller images: for tests.

        Parameters
        ----------
        image_size
            Height and width of the images; the variant's own if None. ValueError if a layer's
            window no longer fits.
        width
            Factor on the number of features, but not on the classes; every number stays a
            multiple of the groups that the network has.

        """
        check_number(self.name, "width", width, above=0)
        multiple = math.lcm(*(getattr(layer, "groups", 1) for layer in self.layers))
        products = self._products()
        kept = products[-1:] if len(self.output_shape) == 1 else ()
        features = {
            layer.name: max(1, round(layer.features * width / multiple)) * multiple
            for layer in products
            if layer not in kept
        }
        size = self.input_shape[:2] if image_size is None else (image_size, image_size)
        input_shape = (*size, self.input_shape[2])
        return dataclasses.replace(self._with_features(features), input_shape=input_shape)

    def _products(self) -> tuple[Conv2d | Dense, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, Conv2d | Dense))

    def _with_features(self, features: Mapping[str, int]) -> Variant:
        layers = tuple(
            dataclasses.replace(layer, features=features[layer.name])
            if isinstance(layer, Conv2d | Dense) and layer.name in features
            else layer
            for layer in self.layers
        )
        return dataclasses.replace(self, layers=layers)

    # --- JSON -------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Write the whole description as JSON text."""
        return json.dumps(_plain(self))

    @staticmethod
    def from_json(text: str) -> Variant:
        """Read what `to_json` wrote; ValueError for anything else."""
        try:
            variant = _revived(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"not the description of a network: {error}") from error
        if not isinstance(variant, Variant):
            raise ValueError("not the description of a network")
        return variant


_CLASSES = {
    described.__name__: described
    for described in (
        Variant,
        Initialisation,
        *LAYERS,
        *initializers.INITIALIZERS,
    )
}


def _plain(value: Any) -> Any:
    """Turn dataclasses into {"type": ..., field: ...} and tuples into lists, all the way down."""
    if dataclasses.is_dataclass(value):
        fields = {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value


def _revived(value: Any) -> Any:
    """Undo `_plain`; every list becomes a tuple."""
    if isinstance(value, list):
        return tuple(_revived(entry) for entry in value)
    if not isinstance(value, dict):
        return value
    entries = {key: _revived(entry) for key, entry in value.items() if key != "type"}
    return _CLASSES[value["type"]](**entries) if "type" in value else entries
