"""The time of a network's steps, forward and forward-backward, after the classic benchmark script.

The images are random, normal with standard deviation 0.1. The objective of forward-backward is
l2_loss of the output, whose gradient is the output itself; the gradients are those of every
parameter. Steps before the measured ones warm caches and memory and count in no figure.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from alexnet import graphs
from alexnet.arrays import Array, array_kind
from alexnet.contract.arguments import LARGEST_SIZE, check_int
from alexnet.network.network import Network
from alexnet.network.variant import Variant
from alexnet.random import Generator

FORWARD, FORWARD_BACKWARD = "forward", "forward-backward"
TARGETS = (FORWARD, FORWARD_BACKWARD)
IMAGE_STDDEV = 0.1

StepObserver: TypeAlias = Callable[[int, float], None]


@dataclass(frozen=True)
class Timing:
    """Durations of the measured steps of one target, in seconds, and what follows from them."""

    target: str
    batch_size: int
    flops: int
    durations: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Seconds a step."""
        return statistics.fmean(self.durations)

    @property
    def deviation(self) -> float:
        """Standard deviation of the durations themselves (divided by their number), seconds."""
        return statistics.pstdev(self.durations)

    @property
    def median(self) -> float:
        """Seconds a step; the rates are those of this one."""
        return statistics.median(self.durations)

    @property
    def minimum(self) -> float:
        """Seconds of the fastest step."""
        return min(self.durations)

    @property
    def images_per_second(self) -> float:
        """Images of a batch by the median."""
        return self.batch_size / self.median

    @property
    def gflops(self) -> float:
        """10^9 FLOP a second by the median, of the products as `step_flops` counts them."""
        return self.flops / self.median / 1e9

    def figures(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "mean_seconds": self.mean,
            "deviation_seconds": self.deviation,
            "median_seconds": self.median,
            "minimum_seconds": self.minimum,
            "images_per_second": self.images_per_second,
            "flops": self.flops,
            "gflops_per_second": self.gflops,
            "step_seconds": list(self.durations),
        }


@dataclass(frozen=True)
class LayerTiming:
    """Median time of one layer in one direction, and its work.

    `flops` are those of the layer's products. `bytes` are what the layer cannot avoid to move:
    its input, its output and, backward, both gradients, each once; for layers without products,
    which memory bounds.
    """

    layer: str
    direction: str
    seconds: float
    flops: int
    bytes: int

    @property
    def gflops(self) -> float:
        """10^9 FLOP a second."""
        return self.flops / self.seconds / 1e9

    @property
    def gbytes(self) -> float:
        """10^9 bytes a second."""
        return self.bytes / self.seconds / 1e9

    def figures(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "layer": self.layer,
            "direction": self.direction,
            "median_seconds": self.seconds,
            "flops": self.flops,
            "bytes": self.bytes,
            "gflops_per_second": self.gflops,
            "gbytes_per_second": self.gbytes,
        }


# --- work -----------------------------------------------------------------------------------------


def step_flops(variant: Variant, batch_size: int, target: str) -> int:
    """FLOP of the products of one step, two for each MAC of convolution and dense layers.

    Backward does those of forward again for the gradient of the weights, and once more for the
    gradient of the input in every layer but the first, which has no use for it. Effective FLOP:
    an algorithm that needs fewer multiplications is credited with all of them.
    """
    forward = sum(_flops(variant, batch_size, "forward"))
    return forward if target == FORWARD else forward + sum(_flops(variant, batch_size, "backward"))


def _flops(variant: Variant, batch_size: int, direction: str) -> list[int]:
    """FLOP of each layer's products in one direction."""
    forward = [row.flops * batch_size for row in variant.summary(batch_size).rows]
    if direction == "forward":
        return forward
    first = next((index for index, flops in enumerate(forward) if flops), None)
    return [flops if index == first else 2 * flops for index, flops in enumerate(forward)]


def _bytes(variant: Variant, batch_size: int, direction: str, itemsize: int) -> list[int]:
    """Compulsory traffic of each layer without products; none for one that makes a view."""
    sizes = [itemsize * int(np.prod(shape)) for shape in variant.shapes(batch_size)]
    passes = 1 if direction == "forward" else 2
    return [
        0 if row.macs or layer.memory == "view" else passes * x + y
        for layer, row, x, y in zip(
            variant.layers, variant.summary().rows, sizes[:-1], sizes[1:], strict=True
        )
    ]


# --- measurement ----------------------------------------------------------------------------------


class Benchmark:
    """One network and one batch of random images, to be run again and again."""

    def __init__(
        self,
        variant: Variant,
        batch_size: int,
        seed: int = 0,
        *,
        device: str = "cpu",
        precision: str = "float32",
        graph: bool = True,
    ) -> None:
        self.batch_size = check_int("bench", "batch_size", batch_size, 1, LARGEST_SIZE)
        self.network = Network(variant, seed=seed, device=device, precision=precision, graph=graph)
        self._arrays = array_kind(self.network.implementation)
        shape = (batch_size, *variant.input_shape)
        images = Generator(seed).normal(shape, IMAGE_STDDEV)
        self._images = self._arrays.from_host(images)

    def step(self, target: str, images: Array = None, **observer: Any) -> None:
        """Do one step, on images of the same shape if they are given."""
        images = self._images if images is None else images
        if target == FORWARD:
            self.network.forward(images, **observer)
            return
        graph = None
        if not observer:
            graph = self.network.graph(target, self.batch_size, self._forward_backward)
        if graph is not None:
            self.network.run_graph(graph, images)
        else:
            with graphs.without():  # of parts of the step
                self._forward_backward(images, **observer)

    def _forward_backward(self, images: Array, **observer: Any) -> None:
        y = self.network.forward(images, training=True, **observer)
        self.network.backward(y, **observer)  # y is the gradient of l2_loss(y)

    def time(
        self, target: str, steps: int, burn_in: int, on_step: StepObserver = lambda *_: None
    ) -> Timing:
        """Run `burn_in` steps and then `steps` measured ones.

        `on_step` is called after each, outside of what is measured, with the step's number, from 0
        after the burn-in and negative in it, and its duration in seconds.
        """
        steps = check_int("bench", "steps", steps, 1, LARGEST_SIZE)
        burn_in = check_int("bench", "burn_in", burn_in, 0, LARGEST_SIZE)
        durations = []
        for step in range(-burn_in, steps):
            _, duration = self._arrays.timed(lambda: self.step(target))
            if step >= 0:
                durations.append(duration)
            on_step(step, duration)
        flops = step_flops(self.network.variant, self.batch_size, target)
        return Timing(target, self.batch_size, flops, tuple(durations))

    def time_layers(
        self, target: str, steps: int, on_step: Callable[[], None] = lambda: None
    ) -> list[LayerTiming]:
        """Median times of every layer over `steps` steps, forward first, then backward.

        `on_step` is called after each step, outside of what is measured.
        """
        seconds: dict[tuple[str, str], list[float]] = {}

        def observe(layer: str, direction: str, duration: float) -> None:
            seconds.setdefault((layer, direction), []).append(duration)

        for _ in range(steps):
            self.step(target, observer=observe)
            on_step()
        variant, itemsize = self.network.variant, self.network.activation_dtype.itemsize
        names = [layer.name for layer in variant.layers]
        return [
            LayerTiming(name, direction, statistics.median(seconds[name, direction]), flops, moved)
            for direction in ("forward", "backward")
            for name, flops, moved in zip(
                names,
                _flops(variant, self.batch_size, direction),
                _bytes(variant, self.batch_size, direction, itemsize),
                strict=True,
            )
            if (name, direction) in seconds
        ]
