"""JAX: jit, in NHWC and in NCHW; in bfloat16 with parameters and images of that type.

By default it computes in float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alexnet.comparison.benchmark import FORWARD
from alexnet.comparison.cases import (
    ADAM,
    BFLOAT16,
    FLOAT32,
    TRAINING_STEP,
    Arrays,
    Case,
    LayerCase,
    NetworkCase,
)
from alexnet.comparison.peers.interface import Job, Peer, updates
from alexnet.comparison.peers.windows import conv2d_extents, pool2d_extents, pool2d_pads
from alexnet.contract.arguments import AnyArray, Shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d

Tensor: TypeAlias = Any
Tensors: TypeAlias = Mapping[str, Tensor]
Function: TypeAlias = Callable[[Tensor, Tensors, bool], Tensor]

LAYOUTS = ("NHWC", "NCHW")


class Jax(Peer):
    """Weights are arguments of the compiled function; only images change their layout."""

    def __init__(self, threads: int) -> None:
        # XLA starts as many threads as there are processors to run on, and no option says fewer.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    def version(self) -> str:
        return f"JAX {jax.__version__}"

    def modes(self, case: Case) -> tuple[str, ...]:
        is_dense = isinstance(case, LayerCase) and isinstance(case.layer, Dense)
        return ("nhwc",) if is_dense else ("nhwc", "nchw")

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        layout = mode.upper()
        tensors = {
            name: jnp.asarray(_laid_out(array, name, layout)) for name, array in operands.items()
        }
        if isinstance(case, LayerCase):
            return _layer_job(case, layout, tensors)
        return _network_job(case, layout, tensors, operands)


# --- layouts --------------------------------------------------------------------------------------


def _laid_out(array: AnyArray, name: str, layout: str) -> AnyArray:
    """Images and their gradients in `layout`, weights as they are."""
    if array.ndim != 4 or layout == "NHWC" or name.endswith("weight"):
        return array
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _array(tensor: Tensor, name: str, layout: str) -> AnyArray:
    """Undo `_laid_out`."""
    array = np.asarray(tensor)
    if array.ndim != 4 or layout == "NHWC" or name.endswith("weight"):
        return array
    return array.transpose(0, 2, 3, 1)


def _arrays(tensors: Tensors, layout: str) -> dict[str, AnyArray]:
    return {name: _array(tensor, name, layout) for name, tensor in tensors.items()}


def _spatial(values: tuple[Any, Any], rest: Any, layout: str) -> tuple[Any, ...]:
    """One value a dimension: `values` for height and width, `rest` for batch and channels."""
    return (rest, *values, rest) if layout == "NHWC" else (rest, rest, *values)


# --- layers ---------------------------------------------------------------------------------------
# Each builds the function of x, the layer's parameters and `training` for one input shape (NHWC).


def _conv2d(layer: Conv2d, input_shape: Shape, layout: str) -> Function:
    s = conv2d_extents(layer, input_shape)
    pads = ((s.pad_top, s.pad_bottom), (s.pad_left, s.pad_right))

    def function(x: Tensor, parameters: Tensors, _: bool) -> Tensor:
        y = lax.conv_general_dilated(
            x,
            parameters["weight"],
            (s.stride_height, s.stride_width),
            pads,
            dimension_numbers=(layout, "HWIO", layout),
            feature_group_count=s.groups,
        )
        if layer.bias:
            y += _by_channel(parameters["bias"], layout)
        return _activated(y, layer.activation)

    return function


def _by_channel(values: Tensor, layout: str) -> Tensor:
    return values[:, None, None] if layout == "NCHW" else values


def _dense(layer: Dense, _: Shape, __: str) -> Function:
    def function(x: Tensor, parameters: Tensors, _: bool) -> Tensor:
        y = x @ parameters["weight"]
        if layer.bias:
            y += parameters["bias"]
        return _activated(y, layer.activation)

    return function


def _lrn(layer: LRN, _: Shape, layout: str) -> Function:
    """Take the window's sum as a sum of shifted slices, which XLA fuses into one loop."""
    radius, axis = layer.depth_radius, layout.index("C")

    def function(x: Tensor, _parameters: Tensors, _training: bool) -> Tensor:
        pads = [(0, 0)] * 4
        pads[axis] = (radius, radius)
        squares, channels = jnp.pad(x * x, pads), x.shape[axis]
        total = sum(
            lax.slice_in_dim(squares, start, start + channels, axis=axis)
            for start in range(2 * radius + 1)
        )
        return x * (layer.bias + layer.alpha * total) ** -layer.beta

    return function


def _max_pool2d(layer: MaxPool2d, input_shape: Shape, layout: str) -> Function:
    s = pool2d_extents(layer, input_shape)
    window = _spatial((s.window_height, s.window_width), 1, layout)
    strides = _spatial((s.stride_height, s.stride_width), 1, layout)
    padding = _spatial(pool2d_pads(s), (0, 0), layout)
    return lambda x, _parameters, _training: lax.reduce_window(
        x, -jnp.inf, lax.max, window, strides, padding
    )


def _batch_norm(layer: BatchNorm, input_shape: Shape, layout: str) -> Function:
    """Statistics of the batch in training; nothing that is timed reads the running ones then.

    Features without height and width have one layout: (batch, channels).
    """
    layout = layout if len(input_shape) == 4 else "NC"
    axes = tuple(index for index, letter in enumerate(layout) if letter != "C")

    def function(x: Tensor, parameters: Tensors, training: bool) -> Tensor:
        if training:
            mean, variance = jnp.mean(x, axes), jnp.var(x, axes)
        else:
            mean, variance = parameters["running_mean"], parameters["running_variance"]
        scale = parameters["gamma"] * lax.rsqrt(variance + layer.epsilon)
        y = (x - _by_channel(mean, layout)) * _by_channel(scale, layout)
        return _activated(y + _by_channel(parameters["beta"], layout), layer.activation)

    return function


def _dropout(_: Dropout, __: Shape, ___: str) -> Function:
    """Nothing in inference; cases of training have none."""
    return lambda x, _parameters, _training: x


def _flatten(layer: Flatten, input_shape: Shape, layout: str) -> Function:
    """Rows first and channels last, whatever the layout."""
    shape = layer.output_shape(input_shape)
    axes = (0, 1, 2, 3) if layout == "NHWC" else (0, 2, 3, 1)
    return lambda x, _parameters, _training: x.transpose(axes).reshape(shape)


def _activated(y: Tensor, activation: str | None) -> Tensor:
    return y if activation is None else jax.nn.relu(y)


_FUNCTIONS: dict[type[Layer], Callable[[Any, Shape, str], Function]] = {
    Conv2d: _conv2d,
    Dense: _dense,
    LRN: _lrn,
    MaxPool2d: _max_pool2d,
    BatchNorm: _batch_norm,
    Dropout: _dropout,
    Flatten: _flatten,
}


# --- jobs -----------------------------------------------------------------------------------------


def _layer_job(case: LayerCase, layout: str, tensors: dict[str, Tensor]) -> Job:
    function = _FUNCTIONS[type(case.layer)](case.layer, case.input_shape, layout)
    x, dy = tensors["x"], tensors["dy"]
    parameters = {name: tensors[name] for name in case.parameter_shapes}
    if case.direction == "forward":
        forward = jax.jit(lambda x, parameters: {"y": function(x, parameters, True)})
        return _job(lambda: forward(x, parameters), layout)

    named = {f"d{name}": tensor for name, tensor in {"x": x, **parameters}.items()}
    wanted = {name: named[name] for name in case.result_shapes}

    def gradients(wanted: Tensors, named: Tensors, dy: Tensor) -> Tensors:
        def forward(wanted: Tensors) -> Tensor:
            own = {name[1:]: tensor for name, tensor in {**named, **wanted}.items()}
            return function(own.pop("x"), own, True)

        result: Tensors = jax.vjp(forward, wanted)[1](dy)[0]
        return result

    backward = jax.jit(gradients)
    return _job(lambda: backward(wanted, named, dy), layout)


def _job(run: Callable[[], Tensors], layout: str, precision: str = FLOAT32) -> Job:
    return Job(
        lambda: jax.block_until_ready(run()), lambda result: _arrays(result, layout), precision
    )


def _network_job(
    case: NetworkCase, layout: str, tensors: dict[str, Tensor], operands: Arrays
) -> Job:
    images, training = tensors.pop("x"), case.target != FORWARD
    trained = {name: tensors[name] for name in case.variant.parameter_shapes()}
    functions = [
        _FUNCTIONS[type(layer)](layer, shape, layout) for layer, shape, _ in case.layers(tensors)
    ]

    def forward(parameters: Tensors, x: Tensor) -> Tensor:
        for function, (_, _, own) in zip(functions, case.layers(parameters), strict=True):
            x = function(x, own, training)
        return x

    if case.target == FORWARD:
        precision = BFLOAT16 if case.precision == BFLOAT16 else FLOAT32
        tensors = {name: tensor.astype(precision) for name, tensor in tensors.items()}
        images = images.astype(precision)
        inference = jax.jit(lambda parameters, x: {"y": forward(parameters, x).astype(FLOAT32)})
        return _job(lambda: inference(tensors, images), layout, precision)
    if case.target == TRAINING_STEP:
        return _training_job(forward, trained, images, tensors["labels"], operands)

    def gradients(parameters: Tensors, x: Tensor) -> Tensors:
        y, pull_back = jax.vjp(lambda parameters: forward(parameters, x), parameters)
        return {"y": y, **pull_back(y)[0]}

    backward = jax.jit(gradients)
    return _job(lambda: backward(trained, images), layout)


def _training_job(
    forward: Callable[[Tensors, Tensor], Tensor],
    trained: Tensors,
    images: Tensor,
    labels: Tensor,
    operands: Arrays,
) -> Job:
    def loss_of(parameters: Tensors) -> Tensor:
        log_likelihood = jax.nn.log_softmax(forward(parameters, images))
        return -jnp.mean(log_likelihood[jnp.arange(len(labels)), labels])

    beta1, beta2 = ADAM["beta1"], ADAM["beta2"]

    def step(state: tuple[Any, ...]) -> tuple[Any, Tensor]:
        parameters, first, second, count = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters)
        count += 1
        first = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, first, gradients)
        second = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, second, gradients)
        rate, correction = ADAM["learning_rate"] / (1 - beta1**count), 1 / (1 - beta2**count)
        parameters = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v * correction) + ADAM["epsilon"]),
            parameters,
            first,
            second,
        )
        return (parameters, first, second, count), loss

    compiled = jax.jit(step, donate_argnums=0)  # the state is updated in its own memory
    zeros = [jax.tree.map(jnp.zeros_like, trained) for _ in range(2)]
    state = (jax.tree.map(jnp.array, trained), *zeros, jnp.float32(0))

    def run() -> Tensor:
        nonlocal state
        state, loss = jax.block_until_ready(compiled(state))
        return loss

    def outputs(loss: Tensor) -> Arrays:
        after = {name: np.asarray(tensor) for name, tensor in state[0].items()}
        return {"loss": np.asarray(loss), **updates(after, operands)}

    return Job(run, outputs)


PEER = Jax
