"""A network: the layers of a variant with their arrays, run forward and backward.

Threads may share a network. Parameters and state are the same for all of them, and all that a pass
leaves behind is each thread's own: the output, the activations, the gradients, and the forward that
a backward goes through. So a pool of threads may predict with one network, and a thread that
trains it waits until it may change it, for as long as they read. Training from two threads is a
RuntimeError as soon as their steps mix. What is written to `parameters` and `state` directly is not
guarded: no other thread may run the network meanwhile. Nor is what a device has still to do: there,
the threads of a network use one stream, as they do by default.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from alexnet.arrays import Array
from alexnet.contract.arguments import (
    check_callable,
    check_choice,
    check_flag,
    check_instance,
)
from alexnet.graphs import Graph
from alexnet.network.freezing import FLOAT32, operators_on
from alexnet.network.layers import is_known
from alexnet.network.plan import Observer
from alexnet.network.state import NetworkState
from alexnet.network.summary import Summary
from alexnet.network.variant import Variant

# Of the operators that layers call, those that every variant does.
OPERATORS = ("conv2d", "dense")


def _check_operators(implementation: object) -> None:
    """Refuse what is no module with operators."""
    check_instance("network", "implementation", implementation, ModuleType)
    for name in OPERATORS:
        if not hasattr(implementation, name):
            raise TypeError(
                f"network: implementation is {getattr(implementation, '__name__', 'a module')}, "
                f"which has no {name}, expected a module with the operators of alexnet.reference"
            )


class Network(NetworkState):
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
        array float64. Its `fused` module, if it has one, says what it computes in one pass, as
        `alexnet.cpu.fused` does; see `alexnet.network.plan`.

    precision
        Of the products of convolutions and dense layers: "float32"; "tf32" on device "cuda" (see
        `alexnet.cuda`); or "bfloat16" on the CPU, for inference alone: weights and inputs are
        rounded to bfloat16, sums are float32. Convolutions stay float32 where that is faster, which
        is where `alexnet.cpu_bfloat16()` is not "amx". A network in bfloat16 freezes itself in its
        first forward. On device "cuda", "bfloat16" and "float16" are those of all activations and
        their gradients, and of a copy of the weights that products read; sums, parameters, their
        gradients, images and output are float32. There a network trains in them as well, in float16
        with dynamic loss scaling.
    graph
        On device "cuda": from the third forward of a batch size on, launch all of it as one CUDA
        graph, and so whole steps of a `Trainer`. The bits are the same; images are copied into the
        graph's own memory. Of no effect elsewhere.

    `freeze` tells that parameters and state will not change any more, which makes small batches
    faster.

    Activations and their gradients live in buffers that are made in the first `forward` of the
    largest batch size, those for gradients in the first `backward`; after that a step allocates
    nothing of their size. Each thread that runs the network has such buffers, for as long as it
    lives. A pass that ends by an exception, such as KeyboardInterrupt, takes them with it, and the
    thread's gradients: the next forward begins anew.

    `copy.deepcopy` and `pickle` give a network of its own with the same parameters, state and
    position of the generator, on the same implementation, before its first forward and not frozen.
    `copy.copy` gives one over the same parameters, state and generator, with passes of its own;
    the two are frozen together.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        seed: int | None = 0,
        device: str = "cpu",
        implementation: ModuleType | None = None,
        precision: str = FLOAT32,
        graph: bool = True,
    ) -> None:
        check_instance("network", "variant", variant, Variant)
        self._uses_graphs = bool(check_flag("network", "graph", graph))
        if implementation is None:
            implementation = operators_on(device, precision)
        else:
            _check_operators(implementation)
            check_choice("network with an implementation", "precision", precision, (FLOAT32,))
        self._build(variant, implementation, seed, precision)

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
            until this thread's next forward, so leave it unchanged until then.
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
        RuntimeError
            `training` of a network that is frozen.
        NotImplementedError
            `training` of a network in bfloat16 on the CPU.

        """
        check_flag("forward", "training", training)
        check_callable("forward", "observer", observer)
        # A view, so that no other array is the same object: a replay goes by that.
        x = self._arrays.check_input("forward", "x", x, self.input_shape)[...]
        if training:
            self._freezer.check_may_train("forward")
        elif self._freezer.is_for_inference:
            self.freeze()
        # Training moves running statistics and takes numbers from the generator.
        with self._guard.changing if training else self._guard.reading:
            workspace, training = self._workspace, bool(training)
            self._refresh()
            if observer is None:
                work = partial(workspace.forward, training=training, observer=None)
                graph = self.graph(("forward", training), x.shape[0], work)
                if graph is not None:
                    return workspace.hand_out(workspace.run(graph, x))
            return workspace.forward(x, training, observer)

    def __call__(self, x: Array, training: bool = False) -> Array:
        """Compute the output for a batch of images, logits or feature maps: `forward(x)`."""
        return self.forward(x, training)

    def backward(
        self, dy: Array, *, input_gradient: bool = False, observer: Observer | None = None
    ) -> dict[str, Array]:
        """Gradients with respect to every parameter, through this thread's last forward.

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
            this thread's next backward overwrites them. Copy what is to be kept. In float16 they
            are not finite where dy times the loss scale has overflowed; steps of an optimizer lower
            that.

        Raises
        ------
        RuntimeError
            There was no forward, or another thread has changed the network since.
        ValueError, TypeError
            dy has the wrong shape, dtype or kind.
        NotImplementedError
            The network is in bfloat16 on the CPU.

        """
        self._freezer.check_has_gradients("backward")
        check_flag("backward", "input_gradient", input_gradient)
        check_callable("backward", "observer", observer)
        workspace = self._workspace
        workspace.check_has_forward()
        dy = self._arrays.check_input("backward", "dy", dy, self.output_shape)[...]
        with self._guard.reading:
            gradients = workspace.backward(dy, bool(input_gradient), observer)
            self._has_gone_back = True
            return gradients

    # --- CUDA graphs ------------------------------------------------------------------------------

    @property
    def uses_graphs(self) -> bool:
        """Whether passes of a shape that comes again are launched as CUDA graphs.

        Only those of the known layers, and of this class: what others do may be the host's.
        """
        own = type(self).forward is Network.forward and type(self).backward is Network.backward
        is_known_to_repeat = own and all(map(is_known, self.layers))
        return self._uses_graphs and self._arrays.module is not np and is_known_to_repeat

    def graph(self, key: Hashable, batch_size: int, work: Callable[..., Any]) -> Graph[Any] | None:
        """Give the CUDA graph that does `work`, which `key` names among those of a batch size.

        The work is passes of this thread, the same each time; see `alexnet.graphs`. None where it
        has to be done without: on the CPU, the first time, and inside of another graph's work.
        `run_graph` runs it.
        """
        if not self.uses_graphs:
            return None
        return self._workspace.graph(key, batch_size, work)

    def run_graph(self, graph: Graph[Any], *given: Array) -> Any:
        """Run a graph of passes that train, on copies of the given arrays; see `graph`.

        What it returns lies in the graph's memory, where the next run puts its own.
        """
        self._freezer.check_may_train("graph")
        with self._guard.changing:
            self._refresh()
            result = self._workspace.run(graph, *given)
            self._has_gone_back = self._has_gone_back or self._workspace.has_gone_back
            return result

    def _refresh(self) -> None:
        """Have what products read be the parameters of now."""
        if self._mixed_precision is not None:
            self._mixed_precision.refresh()
