"""What one thread's passes through a network work with and leave behind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, partial
from types import ModuleType
from typing import Any

import numpy as np

from alexnet import graphs
from alexnet.arrays import Array, ArrayKind
from alexnet.contract.arguments import Shape
from alexnet.graphs import Graph
from alexnet.network import unfused
from alexnet.network.buffers import Buffers
from alexnet.network.freezing import Freezer
from alexnet.network.layer import Context, Layer
from alexnet.network.layers import Conv2d, Dense
from alexnet.network.mixed_precision import Casts, MixedPrecision
from alexnet.network.narrow import find_narrow, narrow_fusions
from alexnet.network.parameter_memory import ParameterMemory
from alexnet.network.plan import Fusion, Observer, Plan, build_plan, find_fusions, left_out
from alexnet.network.replay import Replay, can_replay
from alexnet.network.variant import Variant
from alexnet.random import Generator
from alexnet.sharing import Guard

MOST_PLANS = 8  # batch sizes whose plans are kept


class Plans:
    """How a batch size is computed; the plain plan is built when it is first asked for.

    `build` makes the plan with some fusions. The replay, if there is one, is of the fused plan.
    """

    def __init__(
        self,
        batch_size: int,
        build: Callable[[Mapping[int, Fusion]], Plan],
        fusions: Mapping[int, Fusion],
        can_replay: bool,
    ) -> None:
        self.batch_size = batch_size
        self._build = build
        self.fused = build(fusions)
        self.replay = Replay(self.fused) if can_replay else None
        self.graphs: dict[Hashable, Graph[Any]] = {}

    def forget_calls(self) -> None:
        """Have nothing to replay: the contexts are about to be another plan's."""
        if self.replay is not None:
            self.replay.forget()

    @cached_property
    def plain(self) -> Plan:
        """The plan with a step for each layer."""
        return self._build({})


class Workspace:
    """Activations, gradients, and the plans that compute them: everything that a pass writes.

    Parameters, state and generator are the network's, which all of its threads share, and so are
    `mixed_precision` and what `freezer` keeps: it is of no more use once that has changed, either.
    `guard` is entered by the caller of `forward` and `backward`. When one of them ends by an
    exception, which may come at any moment (KeyboardInterrupt), the workspace is of no more use:
    `is_whole`.
    """

    def __init__(
        self,
        variant: Variant,
        operators: ModuleType,
        arrays: ArrayKind,
        generator: Generator,
        parameters: ParameterMemory,
        states: Sequence[dict[str, Array]],
        freezer: Freezer,
        guard: Guard,
        mixed_precision: MixedPrecision | None,
    ) -> None:
        self._variant = variant
        self._arrays = arrays
        self._kind = arrays if mixed_precision is None else mixed_precision.kind  # of activations
        self._casts = None if mixed_precision is None else Casts(mixed_precision)
        self._guard = guard
        self._gradients: ParameterMemory | None = None
        fused: ModuleType = getattr(operators, "fused", unfused)
        self._contexts = [
            Context(operators, fused, generator, self._read_by(index, parameters), state)
            for index, state in enumerate(states)
        ]
        self._freezer, self._packed = freezer, freezer.packed
        for layer, context in zip(self.layers, self._contexts, strict=True):
            if layer.name in self._packed:
                context.packing, context.packed = self._packed[layer.name]
        for index, layer in enumerate(self.layers[1:]):
            is_product = type(layer) in (Conv2d, Dense)
            passes = layer.passes_relu or (is_product and fused.PRODUCTS_PASS_RELU)
            if passes and self._ends_in_relu(index):
                self._contexts[index].relu_is_passed = True
                self._contexts[index + 1].through_relu = True
        narrow = self._narrow()
        self._fusions = find_fusions(self.layers, fused)
        self._fusions |= narrow_fusions(self.layers, self._contexts, narrow)
        self._can_replay = fused.CALLS_ARE_RECORDED and can_replay(self.layers)
        self._buffers = Buffers(self._kind, variant, left_out(self._fusions), narrow)
        self._kept: dict[int, Plans] = {}  # by batch size
        # For which graphs, of which batch sizes, since there is that memory.
        self._asked: set[tuple[Hashable, int]] = set()
        self._plans: Plans | None = None  # for the batch size of the last forward
        self._passed: Plan | None = None  # what the last complete forward went through
        self._foreign_changes = 0  # of the guard, when that forward began
        self._pass: str | None = None  # which is under way
        self.has_gone_back = False
        self._is_whole = True

    def _narrow(self) -> dict[int, np.dtype[Any]]:
        """Find the layers that hand on a narrower dtype, to the same bits; see `narrow`."""
        dtype = self._freezer.dtype_between
        if dtype is None:
            return {}
        rounding = [layer.name for layer in self.layers if self._freezer.rounds(layer.name)]
        return dict.fromkeys(find_narrow(self.layers, rounding), dtype)

    def _read_by(self, index: int, parameters: ParameterMemory) -> dict[str, Array]:
        """Parameters of a layer as it reads them: a product's weights as activations are."""
        read = self._of_layer(index, parameters)
        if self._casts is not None and isinstance(self.layers[index], Conv2d | Dense):
            read["weight"] = self._of_layer(index, self._casts.copies)["weight"]
        return read

    def _of_layer(self, index: int, memory: ParameterMemory) -> dict[str, Array]:
        layer, input_shape = self.layers[index], self._variant.shapes(1)[index]
        return memory.of(layer.name, layer.parameter_shapes(input_shape))

    @property
    def is_whole(self) -> bool:
        """Whether it can be used."""
        return self._is_whole and self._packed is self._freezer.packed

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
    def has_gradients(self) -> bool:
        """Whether `gradient_memory` may have been filled: by a backward, or who asked for it."""
        return self._gradients is not None

    @property
    def overflow(self) -> Array:
        """See `Casts`."""
        return None if self._casts is None else self._casts.overflow

    @property
    def activations(self) -> dict[str, Array]:
        """Output of every layer in the last forward; see `Network.activations`."""
        if self._plans is not None:
            self._fill_in(self._plans)
        outputs = zip(self.layers, self._contexts, strict=True)
        return {layer.name: context.y for layer, context in outputs if context.y is not None}

    def check_has_forward(self) -> None:
        """RuntimeError if there is no complete forward for `backward` to go through."""
        self._last_forward()

    def _last_forward(self) -> tuple[Plans, Plan]:
        """Plans of its batch size, and the one of them that backward may go through."""
        if self._plans is None or self._passed is None:
            raise RuntimeError("backward: there is no forward to go back through; call it first")
        return self._plans, self._passed

    def check_unchanged(self, function: str) -> None:
        """RuntimeError if another thread has changed the network since this one's last forward."""
        if self._passed is not None and self._guard.foreign_changes != self._foreign_changes:
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
            self._passed = None
            self._foreign_changes = self._guard.foreign_changes
            plans = self._plans_for(x.shape[0])
            if self._casts is not None:
                x = self._casts.images(x)
            out = self._output(plans.fused.out_shape)
            if observer is not None:
                plans.forget_calls()
                y = plans.plain.forward(x, out, training, observer)
            elif plans.replay is not None:
                y = plans.replay.forward(x, out, training)
            else:
                y = plans.fused.forward(x, out, training)
            self._passed = plans.fused if observer is None else plans.plain
            if self._casts is not None:
                return self._casts.output(y)
            return self._arrays.hand_out(y, writeable=not self._output_is_read_again())
        except BaseException:
            self._is_whole = False
            raise
        finally:
            self._pass = None

    def _plans_for(self, batch_size: int) -> Plans:
        plans = self._plans
        if plans is None or plans.batch_size != batch_size:
            for context in self._contexts:
                context.forget()
            if plans is not None:
                plans.forget_calls()
            self._plans = None  # until there are others: it may be too much memory
            plans = self._plans = self._kept_plans(batch_size)
        return plans

    def _kept_plans(self, batch_size: int) -> Plans:
        if batch_size > self._buffers.capacity:
            self._forget_plans()  # lets go of the memory that is made anew
            self._asked = {asked for asked in self._asked if asked[1] == batch_size}
            self._buffers.reserve(batch_size)
        if batch_size not in self._kept:
            if len(self._kept) == MOST_PLANS:
                self._forget_plans()
            build = partial(
                build_plan, self.layers, self._contexts, self._buffers, batch_size, self._kind
            )
            self._kept[batch_size] = Plans(batch_size, build, self._fusions, self._can_replay)
        return self._kept[batch_size]

    def _forget_plans(self) -> None:
        for plans in self._kept.values():
            plans.graphs.clear()  # which hold what they bring back, the plans among it
        self._kept.clear()

    # --- CUDA graphs ------------------------------------------------------------------------------

    def graph(self, key: Hashable, batch_size: int, work: Callable[..., Any]) -> Graph[Any] | None:
        """Give the graph of passes of a batch size that `key` names, which `work` does.

        None where it has to be done without. So has the first time: what passes make for good, such
        as memory for gradients, must not be the graph's.
        """
        if not graphs.may_begin():
            return None
        plans, asked = self._kept.get(batch_size), (key, batch_size) in self._asked
        self._asked.add((key, batch_size))
        if plans is None or not asked or plans.fused.out_shape is None:
            return None
        if key not in plans.graphs:
            plans.graphs[key] = Graph(self._arrays, work, self._remember)
        return plans.graphs[key]

    def run(self, graph: Graph[Any], *given: Array) -> Any:
        """Run one of the graphs; afterwards everything is as its work would have left it."""
        self._begin("graph")
        self._pass = None  # the work begins passes
        try:
            self._passed = None
            self._foreign_changes = self._guard.foreign_changes
            return graph.run(*given)
        except BaseException:
            self._is_whole = False
            raise

    def _remember(self) -> Callable[[], None]:
        """Note what a pass leaves behind beside arrays; the result brings it back."""
        plans, passed, has_gone_back = self._plans, self._passed, self.has_gone_back
        kept = [
            (context, context.training, context.x, context.y, context.dy_buffer, context.saved)
            for context in self._contexts
        ]

        def restore() -> None:
            self._plans, self._passed, self.has_gone_back = plans, passed, has_gone_back
            for context, *values in kept:
                context.training, context.x, context.y, context.dy_buffer, context.saved = values

        return restore

    def hand_out(self, y: Array) -> Array:
        """Copy an output that lies in a graph's memory to some that is the caller's to keep."""
        if self._casts is not None:  # the network's own memory for outputs has 16 bits
            return y.copy()
        out = self._buffers.hand_out(y.shape)
        out[...] = y
        return self._arrays.hand_out(out, writeable=True)

    # --- memory -----------------------------------------------------------------------------------

    def _output(self, shape: Shape | None) -> Array:
        """Memory for the output, which may be that of the last one if the caller let go of it."""
        owner, *behind = self._contexts[self._buffers.last_owner or 0 :]
        owner.y = None
        for context in behind:
            context.x = context.y = None
        if shape is not None and graphs.is_running():  # the graph's own, and no one else's
            return self._kind.empty(shape)
        return None if shape is None else self._buffers.hand_out(shape)

    def _output_is_read_again(self) -> bool:
        owner = self._buffers.last_owner
        return owner is None or self._ends_in_relu(owner)

    def _ends_in_relu(self, index: int) -> bool:
        return getattr(self.layers[index], "activation", None) == "relu"

    def backward(
        self, dy: Array, input_gradient: bool, observer: Observer | None
    ) -> dict[str, Array]:
        """Gradients through the last forward, for a gradient that is checked but for its batch."""
        plans, passed = self._last_forward()
        if dy.shape[0] != plans.batch_size:
            raise ValueError(
                f"backward: dy is for {dy.shape[0]} images, but the last forward had "
                f"{plans.batch_size}"
            )
        self.check_unchanged("backward")
        self._begin("backward")
        try:
            gradients = dict(self.gradient_memory.arrays)
            dx = self._buffers.input_gradient(plans.batch_size) if input_gradient else None
            if self._casts is not None:
                dy = self._casts.output_gradient(dy)
            # An inference leaves no note of what fused layers need to go back.
            if observer is not None or (not self._contexts[0].training and passed.leaves_out):
                passed = self._fill_in(plans)
            if not passed.has_gradients:
                passed.set_gradients(self._buffers.gradients(plans.batch_size))
            if passed is plans.fused and plans.replay is not None:
                result = plans.replay.backward(dy, dx)
            else:
                result = passed.backward(dy, dx, observer)
            if dx is not None:
                if result is not dx:  # the first layers only make views
                    dx[...] = result
                gradients["input"] = dx if self._casts is None else self._casts.input_gradient(dx)
            if self._casts is not None:
                self._casts.unscale(self.gradient_memory.whole)
            self.has_gone_back = True
            return gradients
        except BaseException:
            self._is_whole = False
            raise
        finally:
            self._pass = None

    def _fill_in(self, plans: Plans) -> Plan:
        """Have the last forward as if it had gone through the plain plan, which is returned."""
        if self._passed is plans.fused:
            plans.fused.fill_in()
            self._passed = plans.plain
        return plans.plain
