"""What a layer is: a description without arrays, and the record of what it owns in a network.

A layer is frozen, comparable, and shared by every network built from it. What one layer of one
network owns at run time stands in a `Context`, which the network passes to `forward` and
`backward`. Shapes are whole, batch first: (batch, height, width, channels) or (batch, features).
"""

# ruff: noqa: ARG002 - the methods have defaults, which need none of their arguments

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal

from alexnet.arrays import Array
from alexnet.contract.arguments import AnyArray, Shape, check_instance, make_plain
from alexnet.files.descriptions import Entry
from alexnet.network.initializers import Initialisation
from alexnet.random import Generator


def check_name(owner: str, name: object) -> None:
    """`name` is one that files and messages can have: printable text, not empty and not long."""
    check_instance(owner, "name", name, str)
    Entry(f"{owner}: name", name).name()


@dataclass(slots=True)
class Context:
    """The arrays of one layer in one network, and what its last forward left for backward."""

    operators: ModuleType
    fused: ModuleType  # what they offer in one pass, see `alexnet.cpu.fused`
    generator: Generator
    parameters: dict[str, Array]
    state: dict[str, Array]
    gradients: dict[str, Array] = field(default_factory=dict)
    training: bool = False
    # ReLUs whose gradient the next layer's backward takes in: of this layer, of the one before.
    relu_is_passed: bool = False
    through_relu: bool = False
    x: Array = None
    y: Array = None
    dy_buffer: Array = None  # the network's own memory for the gradient of y
    saved: tuple[Array, ...] = ()
    # Of a frozen network: its weights as `packing` has packed them, which computes with them.
    packing: ModuleType | None = None
    packed: Any = None

    def forget(self) -> None:
        """Let go of the last forward's arrays."""
        self.x = self.y = self.dy_buffer = None
        self.saved = ()

    def input_relu(self) -> dict[str, Array]:
        """Give what a product's input gradient is told of the ReLU that it takes in, if any."""
        return {"relu_output": self.x} if self.through_relu else {}

    def before_relu(self, dy: Array, activation: str | None) -> Array:
        """Gradient before a fused ReLU, in the network's own memory: `dy` may be a caller's."""
        if activation is None or self.relu_is_passed:
            return dy
        return self.operators.relu_backward(dy, self.y, out=self.dy_buffer)


@dataclass(frozen=True)
class Layer(ABC):
    """One step of a network.

    `memory` says where the output is: in a buffer of its own, in its input's memory (computed in
    place, which the layer before must allow for in its backward), or a view of its input.
    """

    memory: ClassVar[Literal["own", "in place", "view"]] = "own"
    # Whether backward can take in the gradient of a ReLU fused into the layer before.
    passes_relu: ClassVar[bool] = False
    # The one operator that it is, of its `settings`, where it may be fused with other layers.
    operator: ClassVar[str] = ""

    name: str

    def __post_init__(self) -> None:
        check_name("layer", self.name)
        make_plain(self)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the output; ValueError if the layer cannot take `input_shape`."""
        return input_shape

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Shapes of the trainable arrays by their short names, such as "weight"."""
        return {}

    def initial_parameters(
        self, input_shape: Shape, initialisation: Initialisation, generator: Generator
    ) -> dict[str, AnyArray]:
        """First values of the trainable arrays."""
        return {}

    def initial_state(self, input_shape: Shape) -> dict[str, AnyArray]:
        """Arrays that are kept from step to step but not trained."""
        return {}

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of its `operator`, if it has one."""
        return {}

    def macs(self, input_shape: Shape) -> int:
        """Multiply-accumulates of the products in forward; zero for layers without weights."""
        return 0

    def neurons(self, input_shape: Shape) -> int:
        """Units with weights of their own: outputs of an image, as papers count them."""
        return 0

    def packed(self, packing: ModuleType, parameters: dict[str, Array]) -> Any:
        """Weights as `packing` packs them for a frozen network; None: there is nothing to pack."""
        return None

    @abstractmethod
    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Compute the output, in `out` unless it is a view or the input itself."""

    @abstractmethod
    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """Fill the gradients of the parameters; with `dx` not None, return the input's gradient.

        `dx` is the memory for it. `dy` is never written to unless it is the network's own.
        """
