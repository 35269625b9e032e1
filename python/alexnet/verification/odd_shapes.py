"""Calls of every operator on small shapes that are awkward for kernels.

Strides of 1 to 4 and larger than the kernel, groups, asymmetric padding, and sizes on both sides
of every vector length: what `alexnet verify` runs beside the layers of a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet.contract.shapes import Shape, conv2d_shape, pool2d_shape
from alexnet.random import Generator

CONV2D_DEFAULTS: dict[str, Any] = {"stride": 1, "padding": "same", "groups": 1}
POOL_DEFAULTS: dict[str, Any] = {
    "window": 3,
    "stride": 2,
    "padding": "valid",
    "ceil_mode": False,
}

# x (batch, height, width, in), kernel, out, and how the call differs from its defaults.
CONVOLUTIONS: tuple[tuple[Shape, tuple[int, int], int, dict[str, Any]], ...] = (
    ((2, 7, 9, 3), (3, 3), 5, {}),
    ((1, 23, 21, 3), (11, 11), 17, {"stride": 4}),
    ((3, 13, 11, 16), (5, 5), 33, {"stride": 1, "padding": 2}),
    ((1, 12, 10, 18), (3, 3), 12, {"stride": 2, "groups": 2}),
    ((2, 9, 14, 20), (1, 1), 47, {"padding": "valid"}),
    ((2, 10, 17, 12), (2, 4), 63, {"stride": (3, 1), "padding": ((0, 2), (3, 1)), "groups": 3}),
    ((5, 8, 8, 31), (3, 1), 65, {"stride": (1, 2), "padding": ((2, 0), (0, 0))}),
    ((1, 9, 9, 8), (2, 2), 16, {"stride": 3, "padding": "valid"}),
    ((2, 6, 6, 64), (6, 6), 100, {"padding": "valid"}),
    ((7, 3, 2, 32), (3, 3), 14, {"padding": "same"}),
)

POOLS: tuple[tuple[Shape, dict[str, Any]], ...] = (
    ((2, 9, 11, 5), {}),
    ((1, 13, 13, 33), {"window": 3, "stride": 2, "ceil_mode": True}),
    ((3, 8, 7, 16), {"window": 2, "stride": 2}),
    ((2, 10, 6, 17), {"window": (2, 3), "stride": (1, 4), "padding": ((1, 0), (0, 2))}),
    ((1, 7, 7, 64), {"window": 3, "stride": 1, "padding": "same"}),
    ((2, 9, 9, 3), {"window": 2, "stride": 3}),
)

NORMALISATIONS: tuple[tuple[Shape, dict[str, Any]], ...] = (
    ((2, 3, 5, 64), {"depth_radius": 4, "bias": 1.0, "alpha": 0.001 / 9, "beta": 0.75}),
    ((3, 4, 2, 17), {"depth_radius": 2, "bias": 2.0, "alpha": 0.5, "beta": 0.75}),
    ((2, 2, 3, 33), {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}),
    ((5, 3, 1, 3), {"depth_radius": 7, "bias": 0.5, "alpha": 0.1, "beta": 1.3}),
    ((7, 100), {"depth_radius": 0, "bias": 1.0, "alpha": 1.0, "beta": 0.25}),
)

DENSE_SIZES = ((1, 17, 33), (3, 100, 64), (7, 255, 10), (32, 65, 31), (13, 1, 47))  # batch, in, out
BATCH_NORM_SHAPES: tuple[Shape, ...] = ((2, 5, 3, 17), (33, 64), (7, 4, 4, 100))
SIZES = (1, 15, 16, 33, 1001)
LOGITS = ((1, 2), (7, 10), (33, 100), (5, 1000))


@dataclass(frozen=True)
class Call:
    """An operator's name and its arguments; `case` describes the shapes."""

    operator: str
    case: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)


def calls(generator: Generator) -> Iterator[Call]:
    """Every call, with random data."""

    def draw(*shape: int) -> npt.NDArray[np.float32]:
        return generator.normal(shape).astype(np.float32)

    for x_shape, kernel, features, how in CONVOLUTIONS:
        x, bias = draw(*x_shape), draw(features)
        weight = draw(*kernel, x_shape[3] // how.get("groups", 1), features)
        settings = CONV2D_DEFAULTS | how
        dy = draw(*conv2d_shape("conv2d", x_shape, weight.shape, **settings).output_shape)
        case = f"{list(x_shape)} * {list(weight.shape)} {_text(how)}"
        yield Call("conv2d", case, (x, weight, bias), how)
        yield Call("conv2d", f"{case} relu", (x, weight), how | {"activation": "relu"})
        yield Call("conv2d_backward_input", case, (dy, weight, x_shape), how)
        yield Call("conv2d_backward_weight", case, (dy, x, kernel), how)

    for x_shape, how in POOLS:
        x = draw(*x_shape)
        settings = POOL_DEFAULTS | how
        dy = draw(*pool2d_shape("max_pool2d", x_shape, **settings).output_shape)
        yield Call("max_pool2d", f"{list(x_shape)} {_text(how)}", (x,), how)
        yield Call("max_pool2d_backward", f"{list(x_shape)} {_text(how)}", (dy, x), how)

    for x_shape, how in NORMALISATIONS:
        x, dy = draw(*x_shape), draw(*x_shape)
        yield Call("lrn", f"{list(x_shape)} {_text(how)}", (x,), how)
        yield Call("lrn_backward", f"{list(x_shape)} {_text(how)}", (dy, x), how)

    for batch, inputs, outputs in DENSE_SIZES:
        x, weight, bias, dy = (
            draw(batch, inputs),
            draw(inputs, outputs),
            draw(outputs),
            draw(batch, outputs),
        )
        case = f"[{batch}, {inputs}] * [{inputs}, {outputs}]"
        yield Call("dense", case, (x, weight, bias))
        yield Call("dense", f"{case} relu", (x, weight), {"activation": "relu"})
        yield Call("dense_backward_input", case, (dy, weight))
        yield Call("dense_backward_weight", case, (dy, x))

    for x_shape in BATCH_NORM_SHAPES:
        channels = x_shape[-1]
        x, dy, gamma, beta = draw(*x_shape), draw(*x_shape), draw(channels), draw(channels)
        given = {"mean": draw(channels), "variance": draw(channels) ** 2 + np.float32(0.5)}
        pixels = x.reshape(-1, channels)
        computed = {"mean": pixels.mean(axis=0), "variance": pixels.var(axis=0)}
        training, inference = f"{list(x_shape)} training", f"{list(x_shape)} inference"
        yield Call("batch_norm", training, (x, gamma, beta), {"activation": "relu"})
        yield Call("batch_norm", inference, (x, gamma, beta), given)
        yield Call("batch_norm_backward", training, (dy, x, gamma), computed)
        yield Call("batch_norm_backward", inference, (dy, x, gamma), given | {"training": False})

    for size in SIZES:
        yield from _element_wise(size, [draw(size) for _ in range(4)])

    for batch, classes in LOGITS:
        logits, labels = draw(batch, classes), generator.integers(0, classes, (batch,))
        case = f"[{batch}, {classes}]"
        yield Call("softmax_cross_entropy", case, (logits, labels))
        yield Call("softmax_cross_entropy_backward", case, (logits, labels))


def _element_wise(size: int, arrays: list[npt.NDArray[np.float32]]) -> Iterator[Call]:
    x, dy, first, second = arrays
    case = f"[{size}]"
    stream = {"rate": 0.3, "seed": 5, "offset": size}
    yield Call("relu", case, (x,))
    yield Call("relu_backward", case, (dy, x))
    yield Call("dropout", case, (x,), stream)
    yield Call("dropout_backward", case, (dy,), stream)
    yield Call("l2_loss", case, (x,))
    yield Call("l2_loss_backward", case, (x,))
    yield Call("sgd_update", case, (x, dy, first), {"learning_rate": 0.01, "weight_decay": 5e-4})
    moments = (first, second**2)
    yield Call("adam_update", case, (x, dy, *moments), {"step": 3, "weight_decay": 5e-4})


def _text(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
