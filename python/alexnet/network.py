"""A network: the layers of a variant with their arrays, run forward and backward.

A `Network` is not safe to use from several threads at once; two networks are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import TypeAlias

import numpy as np

from alexnet import cpu, ops, weights
from alexnet.arrays import Array, array_kind
from alexnet.buffers import Buffers
from alexnet.checks import AnyArray, Shape
from alexnet.layer import Context, Layer, Step
from alexnet.layers import joined_layers, replayed_layers
from alexnet.parameter_memory import ParameterMemory
from alexnet.random import Generator
from alexnet.recording import recorded
from alexnet.replay import Replay
from alexnet.summary import Summary
from alexnet.variant import Variant

Observer: TypeAlias = Callable[[str, str, float], None]


class Network:
    """The layers of a variant, one after the other, with parameters, gradients and buffers.

    Parameters
    ----------
    variant
        What to build.
    seed
        Of the network's generator, in [0, 2**64): it draws the initial parameters, then the
        dropout masks. None leaves the parameters zero, to be assigned.
    device
        Where its arrays lie and its operators run: "cpu" (NumPy arrays) or "cuda" (CuPy arrays on
        the current device; see `alexnet.cuda`).
    implementation
        The module whose operators run it, instead of the device's. `alexnet.reference` makes every
        array float64.

    Activations and their gradients live in buffers that are made in the first `forward` of the
    largest batch size, those for gradients in the first `backward`; after that a step allocates
    nothing of their size.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        seed: int | None = 0,
        device: str = "cpu",
        implementation: ModuleType | None = None,
    ) -> None:
        self.variant = variant
        self._operators = implementation or ops.implementation_on(device)
        self._arrays = array_kind(self._operators)
        self._generator = Generator(0 if seed is None else seed)
        self._parameters = ParameterMemory(self._arrays, variant.parameter_shapes())
        self._gradients: ParameterMemory | None = None
        self._contexts = [self._make_context(index, seed) for index in range(len(self.layers))]
        for index, layer in enumerate(self.layers[1:]):
            if layer.passes_relu and self._ends_in_relu(index):
                self._contexts[index].relu_is_passed = True
                self._contexts[index + 1].through_relu = True
        self._joined = joined_layers(self.layers) if self._operators is cpu else {}
        self._buffers = Buffers(self._arrays, variant, [index - 1 for index in self._joined])
        self._replayed = replayed_layers(self.layers) if self._operators is cpu else 0
        self._replays: dict[tuple[str, int, bool], Replay] = {}
        self._left_out: dict[int, Array] = {}
        self._layer_state = {
            f"{layer.name}.{name}": array
            for layer, context in zip(self.layers, self._contexts, strict=True)
            for name, array in context.state.items()
        }
        self._batch_size: int | None = None  # of the last complete forward

    def _make_context(self, index: int, seed: int | None) -> Context:
        layer, input_shape = self.layers[index], self.variant.shapes(1)[index]
        parameters = self._of_layer(index, self._parameters)
        if seed is not None:
            rules = self.variant.initialisation
            values = layer.initial_parameters(input_shape, rules, self._generator)
            for name, value in values.items():
                parameters[name][...] = self._arrays.from_host(value)
        state = {
            name: self._arrays.filled(value)
            for name, value in layer.initial_state(input_shape).items()
        }
        return Context(self._operators, self._generator, parameters, state)

    def _of_layer(self, index: int, memory: ParameterMemory) -> dict[str, Array]:
        layer, input_shape = self.layers[index], self.variant.shapes(1)[index]
        names = layer.parameter_shapes(input_shape)
        return {name: memory.arrays[f"{layer.name}.{name}"] for name in names}

    # --- what it is made of -----------------------------------------------------------------------

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return self.variant.layers

    @property
    def implementation(self) -> ModuleType:
        """The module whose operators run the network."""
        return self._operators

    @property
    def input_shape(self) -> Shape:
        """Shape of one image: (height, width, channels)."""
        return self.variant.input_shape

    @property
    def output_shape(self) -> Shape:
        """Shape of one image's output."""
        return self.variant.output_shape

    @property
    def parameters(self) -> Mapping[str, Array]:
        """Trainable arrays by full name, such as "conv1.weight": write to them in place."""
        return MappingProxyType(self._parameters.arrays)

    @property
    def gradients(self) -> Mapping[str, Array]:
        """Gradient of every parameter, zero before the first backward and overwritten by each."""
        return MappingProxyType(self.gradient_memory.arrays)

    @property
    def parameter_memory(self) -> ParameterMemory:
        """The parameters as an optimizer takes them, all in one piece."""
        return self._parameters

    @property
    def gradient_memory(self) -> ParameterMemory:
        """The gradients, laid out as the parameters are."""
        if self._gradients is None:
            self._gradients = ParameterMemory(self._arrays, self.variant.parameter_shapes())
            for index, context in enumerate(self._contexts):
                context.gradients = self._of_layer(index, self._gradients)
        return self._gradients

    @property
    def state(self) -> Mapping[str, Array]:
        """What is kept from step to step but not trained, by full name.

        The running statistics of batch norm ("bn2.running_mean"), which may be written to, and
        "generator", a copy of the [seed, offset] that the next dropout mask follows from.
        """
        generator = np.array([self._generator.seed, self._generator.offset], np.uint64)
        return MappingProxyType({**self._layer_state, "generator": generator})

    @property
    def activations(self) -> Mapping[str, Array]:
        """Output of every layer in the last forward, by the layer's name; empty before it.

        In the network's own memory, overwritten by the next forward: read them only. Dropout works
        in place, so the layer before it shows what dropout left.
        """
        self._make_up_for_left_out()
        outputs = zip(self.layers, self._contexts, strict=True)
        return MappingProxyType(
            {layer.name: context.y for layer, context in outputs if context.y is not None}
        )

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return self.variant.num_parameters

    def summary(self, batch_size: int = 32) -> Summary:
        """Shapes, neurons, parameters and MACs of every layer; `str()` of it is a table."""
        return self.variant.summary(batch_size)

    # --- running ----------------------------------------------------------------------------------

    def forward(
        self, x: Array, training: bool = False, *, observer: Observer | None = None
    ) -> Array:
        """Compute the output for a batch of images.

        Parameters
        ----------
        x
            Images (batch, height, width, channels), float32; on a device its own arrays, or
            NumPy's, which are copied there. Never written to; kept, and read again by `backward`,
            until the next forward, so leave it unchanged until then.
        training
            Dropout drops and batch norm uses the batch's statistics.
        observer
            Called after each layer as ``observer(layer name, "forward", seconds)``. Layers that
            would otherwise be computed together, as LRN and pooling are on the CPU, are then
            computed one by one.

        Returns
        -------
        y
            (batch, *output_shape), whose memory is not used again while y or a view of it is held.
            Read-only where `backward` needs it as it is, namely behind a fused ReLU.

        Raises
        ------
        ValueError, TypeError
            x has the wrong shape, dtype or kind.

        """
        # A view, so that no other array is the same object: a replay goes by that.
        x = self._arrays.check_input("forward", "x", x, self.input_shape)[...]
        self._batch_size = None
        y = None
        if observer is None:
            y = self._forward_again(x, training)
        if y is None:
            y = self._forward(x, training, observer)
        self._batch_size = x.shape[0]
        return self._arrays.hand_out(y, writeable=not self._output_is_read_again())

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
        self, dy: Array, *, input_gradient: bool = False, observer: Observer | None = None
    ) -> dict[str, Array]:
        """Gradients with respect to every parameter, through the last forward.

        Parameters
        ----------
        dy
            Gradient with respect to the output of the last forward, of its shape; not written to.
        input_gradient
            Compute the gradient with respect to x as well.
        observer
            Called after each layer as ``observer(layer name, "backward", seconds)``; see `forward`.

        Returns
        -------
        gradients
            By full parameter name, and "input" if asked for. These are the network's own arrays:
            the next backward overwrites them. Copy what is to be kept.

        Raises
        ------
        RuntimeError
            There was no forward.
        ValueError, TypeError
            dy has the wrong shape, dtype or kind.

        """
        if self._batch_size is None:
            raise RuntimeError("backward: there is no forward to go back through; call it first")
        dy = self._arrays.check_input("backward", "dy", dy, self.output_shape)[...]
        if dy.shape[0] != self._batch_size:
            raise ValueError(
                f"backward: dy is for {dy.shape[0]} images, but the last forward had "
                f"{self._batch_size}"
            )
        if observer is not None or not self._contexts[0].training:
            self._make_up_for_left_out()
        gradients = dict(self.gradients)
        dx: Array = self._buffers.input_gradient(self._batch_size) if input_gradient else None
        rest = range(self._replayed, len(self.layers))
        dy = self._backward_through(rest, dy, dx, observer)
        kind = ("backward", self._batch_size, input_gradient)
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
        return gradients

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

    # --- weights ----------------------------------------------------------------------------------

    def tensors(self) -> dict[str, AnyArray]:
        """Parameters and state together, as NumPy arrays: all that `save` writes."""
        arrays = {**self.parameters, **self.state}
        return {name: self._arrays.to_host(array) for name, array in arrays.items()}

    def assign(self, tensors: Mapping[str, AnyArray]) -> None:
        """Copy parameters and state from arrays as `tensors` gives them, all or nothing.

        Raises
        ------
        ValueError
            A name is missing or unknown, or an array has the wrong shape or a dtype that does not
            convert without loss; nothing was changed.
        """
        name, own = self.variant.name, {**self.parameters, **self.state}
        if own.keys() != tensors.keys():
            missing = ", ".join(sorted(own.keys() - tensors.keys())) or "nothing"
            unknown = ", ".join(sorted(tensors.keys() - own.keys())) or "nothing"
            raise ValueError(f"{name}: arrays lack {missing}, and have {unknown} too many")
        for key, array in own.items():
            given = tensors[key]
            if given.shape != array.shape:
                raise ValueError(
                    f"{name}: {key} has shape {given.shape}, expected {tuple(array.shape)}"
                )
            if not np.can_cast(given.dtype, array.dtype, "safe"):
                raise ValueError(f"{name}: {key} has dtype {given.dtype}, expected {array.dtype}")
        seed, offset = (int(word) for word in tensors["generator"])
        self._generator.state = {"seed": seed, "offset": offset}
        for key, array in {**self.parameters, **self._layer_state}.items():
            array[...] = self._arrays.from_host(tensors[key])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, state and the variant's description to a safetensors file.

        An earlier file of that name is replaced when the new one is whole and on the disk; OSError
        leaves it as it was. `alexnet.load` reads it.
        """
        weights.write(path, self.variant, self.tensors())

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Take parameters and state from a file that `save` wrote for the same layers.

        Raises
        ------
        ValueError
            The file is damaged, foreign, or of another network; nothing was changed.
        OSError
            It cannot be opened.
        """
        variant, tensors = weights.read(path)
        if (variant.layers, variant.input_shape) != (self.layers, self.input_shape):
            raise ValueError(
                f"{path}: holds {variant.name} for images {variant.input_shape}, which differs "
                f"from this network, {self.variant.name} for {self.input_shape}"
            )
        self.assign(tensors)
