"""A network as data: what its layers are, how it starts, and what follows from that without arrays.

The description travels with saved weights as JSON, so a file says by itself how to build the
network that it belongs to. Reading one makes only the classes listed here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from alexnet.contract.arguments import (
    LARGEST_SIZE,
    Shape,
    check_extent_tuple,
    check_extents,
    check_instance,
    check_int,
    check_number,
    check_range,
)
from alexnet.files.descriptions import Entry, parse
from alexnet.messages import shown, summarised
from alexnet.network import initializers
from alexnet.network.initializers import HeNormal, Initialisation
from alexnet.network.layer import Layer, check_name
from alexnet.network.layers import LAYERS, LRN, Conv2d, Dense
from alexnet.network.summary import Summary, SummaryRow

MOST_LAYERS = 1000
DEFAULT_INITIALISATION = Initialisation(HeNormal())


@dataclass(frozen=True)
class Variant:
    """A sequence of layers for images of one size.

    `input_shape` is (height, width, channels). `pixel_range` is what the pixel values 0 and 255
    are in the input of a network that is trained from its start; None scales by the mean and the
    standard deviation of the training images. Building one checks that the layers fit together:
    ValueError or TypeError names the layer and the argument.
    """

    name: str
    description: str
    input_shape: Shape
    layers: tuple[Layer, ...]
    initialisation: Initialisation = DEFAULT_INITIALISATION
    pixel_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_name("variant", self.name)
        check_instance(self.name, "description", self.description, str)
        check_instance(self.name, "initialisation", self.initialisation, Initialisation)
        check_instance(self.name, "layers", self.layers, (tuple, list))
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise TypeError(
                f"{self.name}: layers is {shown(self.layers)}, expected a tuple of layers"
            )
        check_int(self.name, "number of layers", len(self.layers), 1, MOST_LAYERS)
        object.__setattr__(self, "layers", tuple(self.layers))
        names = [layer.name for layer in self.layers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{self.name}: layers repeat the names {', '.join(repeated)}")
        shape = check_extent_tuple(self.name, "input_shape", self.input_shape)
        check_extents(self.name, "input_shape", shape, first=1)
        object.__setattr__(self, "input_shape", shape)
        if self.pixel_range is not None:
            check_range(self.name, "pixel_range", self.pixel_range)
        _ = self.image_shapes  # which checks every layer

    def __repr__(self) -> str:
        return summarised(self, self.sizes)

    # --- sizes ------------------------------------------------------------------------------------

    @cached_property
    def image_shapes(self) -> tuple[Shape, ...]:
        """Shape of one image and of every layer's output for it, without the batch."""
        shapes = [(1, *self.input_shape)]
        for layer in self.layers:
            shapes.append(layer.output_shape(shapes[-1]))
        return tuple(shape[1:] for shape in shapes)

    @property
    def sizes(self) -> str:
        """Name, shapes, and the numbers of layers and parameters, in a line."""
        return (
            f"{self.name}: images {self.input_shape} to {self.output_shape}, "
            f"layers={len(self.layers)}, parameters={self.num_parameters:,}"
        )

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
        width = check_number(self.name, "width", width, above=0)
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
        """Write the whole description as JSON text; ValueError if `from_json` would not take it.

        That is so where a layer is of a class of the caller's own, or larger than what is read.
        """
        text = json.dumps(_plain(self))
        try:
            Variant.from_json(text)
        except ValueError as error:
            raise ValueError(f"{self.name}: cannot be saved, since it is {error}") from error
        return text

    @staticmethod
    def from_json(text: str) -> Variant:
        """Read what `to_json` wrote; ValueError for anything else, before anything is allocated."""
        try:
            variant = _revived(Entry("", parse(text)), Variant)
            assert isinstance(variant, Variant)
            _check_sizes(variant)
        except (ValueError, TypeError) as error:
            raise ValueError(f"not the description of a network: {error}") from error
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


# --- reading --------------------------------------------------------------------------------------

LARGEST_ARRAY = 2**31  # numbers of a parameter, or of one image in a layer


def _revived(entry: Entry, hint: Any) -> Any:
    """Undo `_plain`: a value of the type that a field's annotation says; every list is a tuple."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _revived(entry, _alternative(entry, arguments))
    if origin is tuple and arguments[-1] is not ...:
        pairs = zip(entry.items(len(arguments)), arguments, strict=True)
        return tuple(_revived(item, argument) for item, argument in pairs)
    if origin in (tuple, list, Sequence):
        return tuple(_revived(item, arguments[0]) for item in entry.items(longest=MOST_LAYERS))
    if origin is Mapping:
        return {key: _revived(item, arguments[1]) for key, item in entry.entries().items()}
    if hint in _PLAIN:
        return _PLAIN[hint][1](entry)
    return _revived_object(entry, hint)


def _alternative(entry: Entry, hints: Sequence[Any]) -> Any:
    """Choose the annotation, of those that may be, that a value in JSON is of."""
    expected = []
    for hint in hints:
        origin = get_origin(hint)
        json_types, _, name = _PLAIN.get(hint, ((dict,), None, "an object"))
        if origin in (tuple, list, Sequence):
            json_types, name = (list,), "a list"
        if type(entry.value) in json_types:
            return hint
        expected.append(name)
    return entry.refuse(" or ".join(dict.fromkeys(expected)))


# By annotation: the types of its values in JSON, what reads them, and their name in messages.
_PLAIN: dict[Any, tuple[tuple[type, ...], Callable[[Entry], Any], str]] = {
    bool: ((bool,), Entry.flag, "true or false"),
    int: ((int,), lambda entry: entry.integer(-LARGEST_SIZE), "an integer"),
    float: ((int, float), Entry.number, "a number"),
    str: ((str,), Entry.text, "text"),
    type(None): ((type(None),), lambda entry: entry.value, "null"),
}


def _revived_object(entry: Entry, hint: type) -> Any:
    """Make an object of the class that its "type" names, a `hint` or a kind of it."""
    given = entry.entries()
    classes = {name: cls for name, cls in _CLASSES.items() if issubclass(cls, hint)}
    if "type" not in given:
        entry.refuse(f'an object with a "type" of {", ".join(classes)}')
    cls = classes[given["type"].choice(classes)]
    hints = _hints(cls)
    required = [field.name for field in dataclasses.fields(cls) if _has_no_default(field)]
    entry.fields(("type", *required), hints)
    if issubclass(cls, Layer):
        name = given["name"].name()
        given = {key: Entry(f"{name}: {key}", item.value) for key, item in given.items()}
    values = {key: _revived(given[key], hints[key]) for key in hints if key in given}
    return cls(**values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _check_sizes(variant: Variant) -> None:
    """Check that no array of a network of this description is beyond any memory."""
    names = ("the input", *(layer.name for layer in variant.layers))
    sizes = dict(zip(names, variant.image_shapes, strict=True)) | variant.parameter_shapes()
    for name, shape in sizes.items():
        if math.prod(shape) > LARGEST_ARRAY:
            raise ValueError(
                f"{name} has the shape {shape}, expected at most {LARGEST_ARRAY:,} numbers"
            )
