"""What one thread's passes through a network work with and leave behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TypeAlias

from alexnet import cpu
from alexnet.arrays import Array, ArrayKind
from alexnet.network.buffers import Buffers
from alexnet.network.layer import Context, Layer, Step
from alexnet.network.layers import joined_layers, replayed_layers
from alexnet.network.parameter_memory import ParameterMemory
from alexnet.network.replay import Replay
from alexnet.network.variant import Variant
from alexnet.random import Generator
from alexnet.recording import recorded
from alexnet.sharing import Guard

Observer: TypeAlias = Callable[[str, str, float], None]


class Workspace:
    """Activations, gradients, and the calls to make again: everything that a pass writes.

    Parameters, state and generator are the network's, which all of its threads share. `guard` is
    entered by the caller of `forward` and `backward`. When one of them ends by an exception, which
    may come at any moment (KeyboardInterrupt), the workspace is of no more use: `is_whole`.
    """

    def __init__(
        self,
        variant: Variant,
        operators: ModuleType,
        arrays: ArrayKind,
        generator: Generator,
        parameters: ParameterMemory,
        states: Sequence[dict[str, Array]],
        guard: Guard,
    ) -> None:
        self._variant = variant
        self._arrays = arrays
        self._guard = guard
        self._gradients: ParameterMemory | None = None
        self._contexts = [
            Context(operators, generator, self._of_layer(index, parameters), state)
            for index, state in enumerate(states)
        ]
        for index, layer in enumerate(self.layers[1:]):
            if layer.passes_relu and self._ends_in_relu(index):
                self._contexts[index].relu_is_passed = True
                self._contexts[index + 1].through_relu = True
        self._joined = joined_layers(self.layers) if operators is cpu else {}
        self._buffers = Buffers(arrays, variant, [index - 1 for index in self._joined])
        self._replayed = replayed_layers(self.layers) if operators is cpu else 0
        self._replays: dict[tuple[str, int, bool], Replay] = {}
        self._left_out: dict[int, Array] = {}
        self._batch_size: int | None = None  # of the last complete forward
        self._foreign_changes = 0  # of the guard, when that forward began
        self._pass: str | None = None  # which is under way
        self.has_gone_back = False
        self.is_whole = True

    def _of_layer(self, index: int, memory: ParameterMemory) -> dict[str, Array]:
        layer, input_shape = self.layers[index], self._variant.shapes(1)[index]
        names = layer.parameter_shapes(input_shape)
        return {name: memory.arrays[f"{layer.name}.{name}"] for name in names}

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The network's layers, in order."""
        return self._variant.layers

    @property
    def gradient_memory(self) -> ParameterMemory:
        """Gradients of the parameters: zeros before the first backward."""
        if self._gradients is None:
            gradients = ParameterMemory(self._arrays, self._variant.parameter_shapes())
            for index, context in enumerate(self._contexts):
                context.gradients = self._of_layer(index, gradients)
            self._gradients = gradients
        return self._gradients

    @property
    def activations(self) -> dict[str, Array]:
        """Output of every layer in the last forward; see `Network.activations`."""
        self._make_up_for_left_out()
        outputs = zip(self.layers, self._contexts, strict=True)
        return {layer.name: context.y for layer, context in outputs if context.y is not None}

    def check_has_forward(self) -> None:
        """RuntimeError if there is no complete forward for `backward` to go through."""
        if self._batch_size is None:
            raise RuntimeError("backward: there is no forward to go back through; call it first")

    def check_unchanged(self, function: str) -> None:
        """RuntimeError if another thread has changed the network since this one's last forward."""
        if self._batch_size is not None and self._guard.foreign_changes != self._foreign_changes:
            raise RuntimeError(
                f"{function}: another thread has changed the network since this thread's forward; "
                "train it from one thread, or give each a network of its own (copy.deepcopy)"
            )

    def _begin(self, direction: str) -> None:
        if self._pass is not None:
            raise RuntimeError(f"{direction}: called during the network's own {self._pass}")
        self._pass = direction

    def forward(self, x: Array, training: bool, observer: Observer | None) -> Array:
        """Compute the output for images that are checked; see `Network.forward`."""
        self._begin("forward")
        try:
            self._batch_size = None
            self._foreign_changes = self._guard.foreign_changes
            y = None
            if observer is None:
                y = self._forward_again(x, training)
            if y is None:
                y = self._forward(x, training, observer)
            self._batch_size = x.shape[0]
            return self._arrays.hand_out(y, writeable=not self._output_is_read_again())
        except BaseException:
            self.is_whole = False
            raise
        finally:
            self._pass = None

    def _forward_again(self, x: Array, training: bool) -> Array:
        """Make the calls of the forward before; None if they were others."""
        replay = self._replays.get(("forward", x.shape[0], training))
        if replay is None:
            return None
        first, last = self._contexts[0], self._contexts[self._replayed - 1]
        for context in self._contexts[self._replayed - 1 :]:
            context.y = None  # whose memory may be used again, if the caller does not hold it
        outputs = self._buffers.outputs(x.shape[0])
        y = outputs[self._replayed - 1]
        if not replay.run((x, y)):
            return None
        first.x, last.y = x, y
        rest = range(self._replayed, len(self.layers))
        return self._forward_through(rest, y, training, None, outputs)

    def _forward(self, x: Array, training: bool, observer: Observer | None) -> Array:
        """Take every layer's step."""
        for context in self._contexts:
            context.forget()
        self._left_out = {}
        self._replays = {}  # which would keep memory that is given up, and go by other contexts
        outputs = self._buffers.outputs(x.shape[0])
        with recorded() as calls:
            y = self._forward_through(range(self._replayed), x, training, observer, outputs)
        if self._replayed > 0 and observer is None:
            self._replays["forward", x.shape[0], training] = Replay(calls, (x, y))
        rest = range(self._replayed, len(self.layers))
        return self._forward_through(rest, y, training, observer, outputs)

    def _forward_through(
        self,
        indices: range,
        y: Array,
        training: bool,
        observer: Observer | None,
        outputs: list[Array],
    ) -> Array:
        """Take the steps of some layers, from the output of the one before them."""
        joined = self._joined if observer is None else {}
        for index in indices:
            context = self._contexts[index]
            context.training, context.x = training, y
            if index + 1 in joined:
                self._left_out[index] = outputs[index]
                continue
            if index in joined:
                y = joined[index].forward(self._contexts[index - 1], y, outputs[index])
            else:
                y = self._run(index, "forward", observer, y, outputs[index])
            context.y = y
        return y

    def _make_up_for_left_out(self) -> None:
        """Compute what joined layers did not in the last forward."""
        if self._left_out:
            self._replays = {}  # the next forward leaves it out again
        for index, out in self._left_out.items():
            context, after = self._contexts[index], self._contexts[index + 1]
            context.y = after.x = self.layers[index].forward(context, context.x, out)
        self._left_out = {}

    def _output_is_read_again(self) -> bool:
        owner = self._buffers.last_owner
        return owner is None or self._ends_in_relu(owner)

    def _ends_in_relu(self, index: int) -> bool:
        return getattr(self.layers[index], "activation", None) == "relu"

    def backward(
        self, dy: Array, input_gradient: bool, observer: Observer | None
    ) -> dict[str, Array]:
        """Gradients through the last forward, for a gradient that is checked but for its batch."""
        batch_size = dy.shape[0]
        if batch_size != self._batch_size:
            raise ValueError(
                f"backward: dy is for {batch_size} images, but the last forward had "
                f"{self._batch_size}"
            )
        self.check_unchanged("backward")
        self._begin("backward")
        try:
            if observer is not None or not self._contexts[0].training:
                self._make_up_for_left_out()
            gradients = dict(self.gradient_memory.arrays)
            dx: Array = self._buffers.input_gradient(batch_size) if input_gradient else None
            rest = range(self._replayed, len(self.layers))
            dy = self._backward_through(rest, dy, dx, observer)
            kind = ("backward", batch_size, input_gradient)
            given = (dy, self._contexts[0].x, self._contexts[self._replayed - 1].y)
            replay = self._replays.get(kind) if observer is None else None
            if replay is None or not replay.run(given):
                with recorded() as calls:
                    dy = self._backward_through(range(self._replayed), dy, dx, observer)
                if self._replayed > 0 and observer is None:
                    self._replays[kind] = Replay(calls, given)
            if input_gradient:
                if self._replayed == 0 and dy is not dx:  # a first layer that only makes views
                    dx[...] = dy
                gradients["input"] = dx
            self.has_gone_back = True
            return gradients
        except BaseException:
            self.is_whole = False
            raise
        finally:
            self._pass = None

    def _backward_through(
        self, indices: range, dy: Array, input_gradient: Array, observer: Observer | None
    ) -> Array:
        """Take the steps of some layers, from the gradient of their output to that of their input.

        `input_gradient` is the memory for the gradient of the network's input; None: not needed.
        """
        activation_gradients = self._buffers.gradients(self._contexts[-1].y.shape[0])
        last = self._first_trained_layer() if input_gradient is None else 0
        for index in reversed(indices):
            if index < last:
                break
            if index in self._left_out:
                continue
            is_joined = index - 1 in self._left_out
            first = index - 1 if is_joined else index
            dx = activation_gradients[first - 1] if first > last else input_gradient
            context = self._contexts[first]
            context.dy_buffer = activation_gradients[first]
            if is_joined:
                dy = self._joined[index].backward(context, dy, dx)
            else:
                dy = self._run(index, "backward", observer, dy, dx)
        return dy

    def _run(
        self, index: int, direction: str, observer: Observer | None, given: Array, place: Array
    ) -> Array:
        """Take one layer's step; tell the observer, if there is one."""
        layer, context = self.layers[index], self._contexts[index]
        step: Step = getattr(layer, direction)
        if observer is None:
            return step(context, given, place)
        result, seconds = self._arrays.timed(lambda: step(context, given, place))
        observer(layer.name, direction, seconds)
        return result

    def _first_trained_layer(self) -> int:
        trained = (index for index, context in enumerate(self._contexts) if context.parameters)
        return next(trained, len(self.layers))
