"""A plan: what a network does in a pass, as a list of steps, built once for a batch size.

A step is a layer, or several layers that are computed in one pass over memory, with the arrays
that it works on. For each batch size a thread has a fused plan, whose steps are as long as the
implementation's `fused` module (`alexnet.cpu.fused`) and, in bfloat16, `narrow_fusions` (narrow.py)
can make them, and, once it is needed, a plain one with a step for each layer: for passes with an
observer, and for backward after an inference.

    images                                                                     output
       |     +-------+     +------+     +-------+           +-----+              ^
       +---->| conv1 |--a->| lrn1 |--b->| pool1 |--c-> ...->| fc8 |--------------+    plain
       |     +-------+     +------+     +-------+           +-----+              |
       |     +-------+     +--------------------+           +-----+              |
       +---->| conv1 |--a->|    lrn1 + pool1    |--c-> ...->| fc8 |--------------+    fused
             +-------+     +--------------------+           +-----+
         <-dx-        <-da-                      <-dc- ... <-      <-dy-

`a`, `b` and `c` are arrays of `Buffers`, the same ones in both plans; the fused plan leaves `b` as
it is. The caller's arrays differ from pass to pass: the images, dy, and the output, whose memory is
the caller's to keep (`out`, handed out). Backward takes the steps in reverse; da, db, dc take turns
in few buffers.

Both plans leave what backward needs in the contexts of the layers, one for each layer and thread.
So, once `fill_in` has computed what a fused forward left out, the plain plan may go back through
it. `Replay` (replay.py) makes the kernel calls of a plan again without going through its steps;
`Workspace` (workspace.py) holds a thread's contexts, buffers and plans, and says which plan runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import ModuleType
from typing import Protocol, TypeAlias

from alexnet.arrays import Array, ArrayKind
from alexnet.contract.arguments import Shape
from alexnet.network.buffers import Buffers
from alexnet.network.layer import Context, Layer
from alexnet.network.layers import is_known

Observer: TypeAlias = Callable[[str, str, float], None]  # layer, "forward"/"backward", seconds


class Fusion(Protocol):
    """Several layers in one pass, as a `fused` module offers them.

    None is trained, and the output of each is a function of its input alone.
    """

    length: int  # layers

    def forward(self, x: Array, out: Array, training: bool) -> tuple[Array, ...]:
        """Compute the last layer's output; in training, return what `backward` needs."""

    def backward(
        self, dy: Array, x: Array, saved: tuple[Array, ...], through_relu: bool, dx: Array
    ) -> None:
        """Compute the gradient of x, after a forward in training that returned `saved`.

        `through_relu`: x is a ReLU's output, and the gradient wanted is that at the ReLU's input.
        """


def find_fusions(layers: Sequence[Layer], fused: ModuleType) -> dict[int, Fusion]:
    """Find what `fused` computes in one pass, by the index of the first layer of each."""
    operations = [
        (layer.operator, layer.settings()) if is_known(layer) else ("", {}) for layer in layers
    ]
    fusions: dict[int, Fusion] = {}
    index = 0
    while index < len(layers):
        fusion = fused.fusion(operations[index:])
        if fusion is not None:
            fusions[index] = fusion
        index += 1 if fusion is None else fusion.length
    return fusions


def left_out(fusions: Mapping[int, Fusion]) -> list[int]:
    """List the layers whose outputs are not computed: all of a fusion's but the last."""
    return [
        first + number for first, fusion in fusions.items() for number in range(fusion.length - 1)
    ]


@dataclass(eq=False, slots=True)
class Step:
    """One or several layers, and the arrays that they work on.

    Attributes
    ----------
    layers, contexts
        In order; more than one where there is a `fusion`, which computes them.
    outs
        Memory of each layer's output; None for views and for what is handed out.
    handed_out
        Shape of the last layer's output if it is in the memory that goes to the caller.
    dy_buffer, dx
        The network's own memory for the gradients of the output and of the input, from the first
        backward on; None for the network's input.

    """

    layers: Sequence[Layer]
    contexts: Sequence[Context]
    outs: Sequence[Array]
    fusion: Fusion | None
    handed_out: Shape | None
    dy_buffer: Array = None
    dx: Array = None

    @property
    def is_trained(self) -> bool:
        """Whether it has parameters."""
        return any(context.parameters for context in self.contexts)

    def forward(self, x: Array, out: Array, training: bool) -> Array:
        """Compute the output for x; `out` is what the caller is handed."""
        first, last = self.contexts[0], self.contexts[-1]
        if self.handed_out is None:
            out = self.outs[-1]
        elif out.shape != self.handed_out:
            out = out.reshape(self.handed_out)
        first.x, first.training = x, training
        if self.fusion is None:
            last.y = self.layers[0].forward(first, x, out)
        else:
            first.saved = self.fusion.forward(x, out, training)
            last.y = out
        return last.y

    def backward(self, dy: Array, dx: Array) -> Array:
        """Return the gradient of the input, in `dx` unless that is None: not needed."""
        context = self.contexts[0]
        context.dy_buffer = self.dy_buffer
        if self.fusion is None:
            return self.layers[0].backward(context, dy, dx)
        if dx is not None:
            self.fusion.backward(dy, context.x, context.saved, context.through_relu, dx)
        return dx

    def fill_in(self) -> None:
        """Compute the outputs between its layers, as the layers by themselves would have."""
        for index, layer in enumerate(self.layers[:-1]):
            context, following = self.contexts[index], self.contexts[index + 1]
            following.training = context.training
            context.y = following.x = layer.forward(context, context.x, self.outs[index])


class Plan:
    """Steps one after the other."""

    def __init__(self, steps: Sequence[Step], kind: ArrayKind) -> None:
        self.steps = steps
        self._kind = kind
        self.has_gradients = False  # memory for those of outputs and inputs

    @cached_property
    def _first_trained(self) -> int:
        for number, step in enumerate(self.steps):
            if step.is_trained:
                return number
        return len(self.steps)

    @cached_property
    def out_shape(self) -> Shape | None:
        """Shape of the array that is handed out; None: the network makes views only."""
        # No generator, which an interrupt could meet as it is given up: Python would tell of it.
        for step in self.steps:
            if step.handed_out is not None:
                return step.handed_out
        return None

    def split(self) -> tuple[Plan, Sequence[Step]]:
        """Part it in what computes the output, and the steps at the end that only view it."""
        end = len(self.steps)
        while end > 0 and self.steps[end - 1].layers[-1].memory == "view":
            end -= 1
        return Plan(self.steps[:end], self._kind), self.steps[end:]

    @property
    def leaves_out(self) -> bool:
        """Whether some layers' outputs are not computed."""
        return any(step.fusion is not None for step in self.steps)

    def set_gradients(self, gradients: Sequence[Array]) -> None:
        """Take, for each layer of the whole plan, the array of its output's gradient."""
        index, before = 0, None
        for step in self.steps:
            index += len(step.layers)
            step.dx, step.dy_buffer = before, gradients[index - 1]
            before = step.dy_buffer
        self.has_gradients = True

    def forget(self) -> None:
        """Let go of the last forward's arrays."""
        for step in self.steps:
            for context in step.contexts:
                context.forget()

    def forward(
        self, x: Array, out: Array, training: bool, observer: Observer | None = None
    ) -> Array:
        """Compute the output for x; `out` is the memory that the caller is handed."""
        self.forget()
        for step in self.steps:
            if observer is None:
                x = step.forward(x, out, training)
            else:
                work = partial(step.forward, x, out, training)
                x = self._observed(step, "forward", work, observer)
        return x

    def backward(self, dy: Array, dx: Array, observer: Observer | None = None) -> Array:
        """Fill the parameters' gradients; return that of the input, in `dx` or a view.

        With `dx` None it is not needed, nor are the steps before the first that is trained.
        """
        first = 0 if dx is not None else self._first_trained
        for number in range(len(self.steps) - 1, first - 1, -1):
            step = self.steps[number]
            place = step.dx if number > first else dx
            if observer is None:
                dy = step.backward(dy, place)
            else:
                work = partial(step.backward, dy, place)
                dy = self._observed(step, "backward", work, observer)
        return dy

    def _observed(
        self, step: Step, direction: str, work: Callable[[], Array], observer: Observer
    ) -> Array:
        result, seconds = self._kind.timed(work)
        observer(step.layers[-1].name, direction, seconds)
        return result

    def fill_in(self) -> None:
        """Compute what the last forward left out."""
        for step in self.steps:
            step.fill_in()


def build_plan(
    layers: Sequence[Layer],
    contexts: Sequence[Context],
    buffers: Buffers,
    batch_size: int,
    kind: ArrayKind,
    fusions: Mapping[int, Fusion],
) -> Plan:
    """Plan for a batch size, in the memory of `buffers`; layers in `fusions` are one step."""
    outs, shapes = buffers.outputs(batch_size), buffers.shapes(batch_size)
    steps, first = list[Step](), 0
    while first < len(layers):
        fusion = fusions.get(first)
        end = first + (1 if fusion is None else fusion.length)
        part = slice(first, end)
        handed_out = shapes[end - 1] if end - 1 in buffers.handed_out else None
        steps.append(Step(layers[part], contexts[part], outs[part], fusion, handed_out))
        first = end
    return Plan(steps, kind)
