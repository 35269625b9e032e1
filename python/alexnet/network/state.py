"""What a network holds: parameters, gradients, state, and all that is done with them but passes.

An optimizer updates them, `freeze` keeps them from changing, `copy` and `pickle` copy them, and
files keep them. How threads share them is told in `alexnet.network.network`.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Self

import numpy as np

from alexnet.arrays import Array, array_kind
from alexnet.contract.arguments import (
    AnyArray,
    Shape,
    check_assignable,
    check_int,
    check_path,
)
from alexnet.contract.names import ExplainsNames
from alexnet.messages import listed, shown, summarised
from alexnet.network import weights
from alexnet.network.freezing import BFLOAT16, Freezer
from alexnet.network.layer import Layer
from alexnet.network.mixed_precision import FLOAT16, MixedPrecision
from alexnet.network.named_arrays import NamedArrays
from alexnet.network.parameter_memory import ParameterMemory
from alexnet.network.variant import Variant
from alexnet.network.workspace import Workspace
from alexnet.random import LARGEST_WORD_64, Generator
from alexnet.sharing import Guard

_OWN_ATTRIBUTES = (
    "variant",
    "_operators",
    "_arrays",
    "_generator",
    "_parameters",
    "_states",
    "_freezer",
    "_mixed_precision",
    "_guard",
    "_threads",
    "_has_gone_back",
    "_uses_graphs",
)


@dataclass(frozen=True)
class Update:
    """Memories that are laid out alike: what an optimizer's step reads and changes.

    Of a network in 16 bits there are `copies`, which are to be what the parameters are then,
    rounded; and in float16 `overflow`, an array of the device: where it is not 0, nothing changes.
    """

    parameters: ParameterMemory
    gradients: ParameterMemory
    copies: ParameterMemory | None = None
    overflow: Array = None


class NetworkState(ExplainsNames):
    """The arrays of a network, and of each thread what its passes left.

    `Network` is the one class that is made of it: it adds the passes.
    """

    def _build(
        self, variant: Variant, operators: ModuleType, seed: int | None, precision: str
    ) -> None:
        self.variant = variant
        self._operators = operators
        self._arrays = array_kind(operators)
        if seed is not None:
            seed = check_int("network", "seed", seed, 0, LARGEST_WORD_64)
        self._generator = Generator(seed or 0)
        self._parameters = ParameterMemory(self._arrays, variant.parameter_shapes())
        self._states = [self._initial_state(index, seed) for index in range(len(self.layers))]
        self._freezer = Freezer(variant, operators, precision, self._parameters, self._states)
        self._mixed_precision: MixedPrecision | None = None
        if self._arrays.module is not np and precision in (BFLOAT16, FLOAT16):
            given = (precision, self._arrays, self._parameters, variant.parameter_shapes())
            self._mixed_precision = MixedPrecision(*given)
        self._guard = Guard(variant.name)
        self._forget_passes()

    def _forget_passes(self) -> None:
        """Have no thread's workspace, and no gradients of any."""
        self._threads = threading.local()
        self._has_gone_back = False  # any thread

    def _initial_state(self, index: int, seed: int | None) -> dict[str, Array]:
        """Draw the initial parameters of a layer; return its state."""
        layer, input_shape = self.layers[index], self.variant.shapes(1)[index]
        if seed is not None:
            rules = self.variant.initialisation
            values = layer.initial_parameters(input_shape, rules, self._generator)
            for name, value in values.items():
                self._parameters.arrays[f"{layer.name}.{name}"][...] = self._arrays.from_host(value)
        return {
            name: self._arrays.filled(value)
            for name, value in layer.initial_state(input_shape).items()
        }

    @property
    def _workspace(self) -> Workspace:
        """Of the thread that asks; it ends with the thread, a pass that failed, or `freeze`."""
        workspace: Workspace | None = getattr(self._threads, "workspace", None)
        if workspace is None or not workspace.is_whole:
            workspace = self._threads.workspace = Workspace(
                self.variant,
                self._operators,
                self._arrays,
                self._generator,
                self._parameters,
                self._states,
                self._freezer,
                self._guard,
                self._mixed_precision,
            )
        return workspace

    def __repr__(self) -> str:
        return summarised(self, self.variant.sizes, self._operators.__name__)

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
    def precision(self) -> str:
        """What the products are computed in."""
        return self._freezer.precision

    @property
    def activation_dtype(self) -> np.dtype[Any]:
        """What layers hand on to each other (on the CPU in bfloat16: not all of them)."""
        kind = self._arrays if self._mixed_precision is None else self._mixed_precision.kind
        return kind.dtype

    @property
    def is_frozen(self) -> bool:
        """Whether parameters and state are kept from changing; see `freeze`."""
        return self._freezer.is_frozen

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
        """Trainable arrays by full name, such as "conv1.weight": write to them in place.

        Those of a frozen network are read-only (on a device they have no such flag). Once they
        were asked for, each forward of a network in 16 bits rounds them anew.
        """
        return NamedArrays(self.parameter_memory.arrays)

    def _parameters_may_change(self) -> None:
        if self._mixed_precision is not None:
            self._mixed_precision.is_current = False

    @property
    def gradients(self) -> Mapping[str, Array]:
        """Gradient of every parameter, zero before the first backward and overwritten by each.

        They are those of the thread that asks: RuntimeError where only others have gone back.
        """
        return NamedArrays(self.gradient_memory.arrays)

    @property
    def parameter_memory(self) -> ParameterMemory:
        """The parameters as an optimizer takes them, all in one piece; see `parameters`."""
        if self._mixed_precision is not None:
            self._mixed_precision.are_handed_out = True
        return self._parameters

    @property
    def gradient_memory(self) -> ParameterMemory:
        """The gradients, laid out as the parameters are; see `gradients`."""
        workspace = self._workspace
        if self._has_gone_back and not workspace.has_gone_back:
            raise RuntimeError(
                "gradients: this thread has run no backward, and those of other threads are theirs"
            )
        return workspace.gradient_memory

    def check_trains(self, subject: str) -> None:
        """NotImplementedError, which begins with `subject`, in bfloat16 on the CPU."""
        self._freezer.check_has_gradients(subject)

    def begin_update(self) -> Update:
        """Give what an optimizer's step works on, inside a section that changes.

        Raises
        ------
        RuntimeError
            The gradients are those of another thread, another has changed the network since, there
            are none yet, or it is frozen.
        NotImplementedError
            The network is in bfloat16 on the CPU.
        """
        self._freezer.check_may_train("optimizer")
        self._workspace.check_unchanged("optimizer")
        if not (self._has_gone_back or self._workspace.has_gradients):
            raise RuntimeError("optimizer: there are no gradients yet: call backward first")
        self._parameters_may_change()
        if self._mixed_precision is None:
            return Update(self._parameters, self.gradient_memory)
        copies, overflow = self._mixed_precision.copies, self._workspace.overflow
        return Update(self._parameters, self.gradient_memory, copies, overflow)

    def end_update(self, update: Update, loss: Array = None) -> None:
        """Take note of a step that has written the copies; `loss` is that of `step_in_graph`."""
        if self._mixed_precision is not None:
            self._mixed_precision.is_current = True
            if self._mixed_precision.loss_scale is not None:
                self._mixed_precision.loss_scale.update(update.overflow, loss)

    @property
    def loss_scale(self) -> Any:
        """Of a network in float16: what its gradients are scaled by; None of others.

        Its `state` has the scale, and the number of steps since it has changed.
        """
        return None if self._mixed_precision is None else self._mixed_precision.loss_scale

    @property
    def guard(self) -> Guard:
        """What threads enter to read or to change parameters and state; see `alexnet.sharing`."""
        return self._guard

    @property
    def state(self) -> Mapping[str, Array]:
        """What is kept from step to step but not trained, by full name.

        The running statistics of batch norm ("bn2.running_mean"), which may be written to, and
        "generator", a copy of the [seed, offset] that the next dropout mask follows from.
        """
        state = self._generator.state
        generator = np.array([state["seed"], state["offset"]], np.uint64)
        return NamedArrays({**self._layer_state, "generator": generator})

    @property
    def _layer_state(self) -> dict[str, Array]:
        return {
            f"{layer.name}.{name}": array
            for layer, state in zip(self.layers, self._states, strict=True)
            for name, array in state.items()
        }

    @property
    def activations(self) -> Mapping[str, Array]:
        """Output of every layer in this thread's last forward, by its name; empty before it.

        In the network's own memory, overwritten by the next forward: read them only. Dropout works
        in place, so the layer before it shows what dropout left. In bfloat16, where ml_dtypes is
        installed, layers hand on arrays of that type where only layers read them that round; on
        device "cuda" all of them do, in float16 as well.
        """
        with self._guard.reading:
            return NamedArrays(self._workspace.activations)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return self.variant.num_parameters

    # --- frozen -----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Say that parameters and state will not change: what is made of weights is then kept.

        The bits of a forward are the same, and small batches take less time: convolutions on the
        CPU pack or transform their weights at every call otherwise. What is kept takes up to some
        times the memory of the convolutions' weights; in bfloat16 it is half of all weights.

        Until `unfreeze`, the arrays of `parameters` and `state` are read-only, and training, an
        optimizer's step, `assign` and `restore` are RuntimeErrors. A gradient may still be asked
        for, after a forward in inference. Other views of these arrays, made before, can still be
        written to, which the network then may or may not see: leave that.

        The threads' activations and gradients of before are given up. A network that is frozen
        stays as it is.
        """
        if not self._freezer.is_frozen:
            with self._guard.changing:
                self._freezer.freeze()

    def unfreeze(self) -> None:
        """Undo `freeze`: what was kept is given up, and parameters and state may be changed."""
        with self._guard.changing:
            self._freezer.unfreeze()

    # --- weights ----------------------------------------------------------------------------------

    def tensors(self) -> dict[str, AnyArray]:
        """Parameters and state together, as NumPy arrays: all that `save` writes."""
        arrays = {**self._parameters.arrays, **self.state}
        return {name: self._arrays.to_host(array) for name, array in arrays.items()}

    def assign(self, tensors: Mapping[str, AnyArray]) -> None:
        """Copy parameters and state from arrays as `tensors` gives them, all or nothing.

        Raises
        ------
        ValueError
            A name is missing or unknown, or an array has the wrong shape or a dtype that does not
            convert without loss; nothing was changed.
        TypeError
            What is given under a name is no array, or a masked one; nothing was changed.
        RuntimeError
            The network is frozen.
        """
        self._freezer.check_may_change(self.variant.name)
        name, own = self.variant.name, {**self._parameters.arrays, **self.state}
        if not isinstance(tensors, Mapping):
            raise TypeError(
                f"{name}: tensors is {shown(tensors)}, expected arrays by name, as a network's "
                "tensors() gives them"
            )
        if own.keys() != tensors.keys():
            missing = listed(sorted(own.keys() - tensors.keys()))
            unknown = listed(sorted(map(str, tensors.keys() - own.keys())))
            raise ValueError(f"{name}: arrays lack {missing}, and have {unknown} too many")
        for key, array in own.items():
            check_assignable(name, key, tensors[key], array)
        seed, offset = (int(word) for word in tensors["generator"])
        with self._guard.changing:
            self._generator.state = {"seed": seed, "offset": offset}
            self._parameters_may_change()
            for key, array in {**self._parameters.arrays, **self._layer_state}.items():
                array[...] = self._arrays.from_host(tensors[key])

    # --- copies -----------------------------------------------------------------------------------

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        copied._forget_passes()
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied._uses_graphs = self._uses_graphs
        with self._guard.reading:
            copied._build(self.variant, self._operators, None, self.precision)
            copied.assign(self.tensors())
            if self.loss_scale is not None:
                copied.loss_scale.restore(self.loss_scale.state)
        vars(copied).update(copy.deepcopy(self._additions(), memo))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        with self._guard.reading:
            tensors = {name: array.copy() for name, array in self.tensors().items()}
        return {
            "variant": self.variant,
            "implementation": self._operators.__name__,
            "precision": self.precision,
            "graph": self._uses_graphs,
            "tensors": tensors,
            "loss_scale": None if self.loss_scale is None else self.loss_scale.state,
            "additions": self._additions(),
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        operators = import_module(state["implementation"])
        self._uses_graphs = state.get("graph", True)
        self._build(state["variant"], operators, None, state["precision"])
        self.assign(state["tensors"])
        if self.loss_scale is not None:
            self.loss_scale.restore(state["loss_scale"])
        vars(self).update(state["additions"])

    def _additions(self) -> dict[str, Any]:
        """Collect what a subclass or a user has set besides the attributes of this class."""
        return {name: value for name, value in vars(self).items() if name not in _OWN_ATTRIBUTES}

    # --- files ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, state and the variant's description to a safetensors file.

        An earlier file of that name is replaced when the new one is whole and on the disk; OSError
        leaves it as it was. `alexnet.load` reads it.

        Raises
        ------
        ValueError
            The name is one of another format, such as .pth, or none that a file can have.
        TypeError
            `path` is neither str nor os.PathLike.
        OSError
            It could not be written.
        """
        path = check_path("save", "path", path)
        with self._guard.reading:
            weights.write(path, self.variant, self.tensors())

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Take parameters and state from a file that `save` wrote for the same layers.

        Raises
        ------
        ValueError
            The file is damaged, foreign, or of another network; nothing was changed.
        TypeError
            `path` is neither str nor os.PathLike.
        OSError
            It cannot be opened.
        RuntimeError
            The network is frozen.
        """
        path = check_path("restore", "path", path)
        variant, tensors = weights.read(path)
        if (variant.layers, variant.input_shape) != (self.layers, self.input_shape):
            raise ValueError(
                f"{path}: holds {variant.name} for images {variant.input_shape}, which differs "
                f"from this network, {self.variant.name} for {self.input_shape}"
            )
        self.assign(tensors)
