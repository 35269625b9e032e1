"""The layers of a network: what each computes, how large it is, and which operator runs it.

`layer.py` says what a layer is and what its methods promise.
"""

# ruff: noqa: ARG002 - the layers share one signature for each method, and not all need all of it

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import numpy as np

from alexnet import graphs
from alexnet.arrays import Array
from alexnet.contract.arguments import (
    LARGEST_SIZE,
    AnyArray,
    Shape,
    Size2d,
    check_activation,
    check_flag,
    check_int,
    check_number,
    check_pair,
)
from alexnet.contract.calls import check_lrn_backward_numbers, check_lrn_numbers
from alexnet.contract.names import explaining_arguments
from alexnet.contract.shapes import Conv2dShape, Padding, conv2d_shape, dense_shape, pool2d_shape
from alexnet.cpu import bfloat16
from alexnet.network.initializers import Fans, Initialisation, initial_values
from alexnet.network.layer import Context, Layer
from alexnet.random import Generator
from alexnet.recording import call_kernel


@dataclass(frozen=True)
class _Product(Layer):
    """What convolution and dense layers share: a weight array, an optional bias."""

    @abstractmethod
    def _fans(self, input_shape: Shape) -> Fans: ...

    def initial_parameters(
        self, input_shape: Shape, initialisation: Initialisation, generator: Generator
    ) -> dict[str, AnyArray]:
        """Weight first, then bias, by the network's rules."""
        fans = self._fans(input_shape)
        return {
            name: initial_values(initialisation.rule(self.name, name), generator, shape, fans)
            for name, shape in self.parameter_shapes(input_shape).items()
        }

    def neurons(self, input_shape: Shape) -> int:
        """All outputs of an image."""
        return math.prod(self.output_shape(input_shape)[1:])


@explaining_arguments
@dataclass(frozen=True)
class Conv2d(_Product):
    """Convolution, its bias and ReLU in one operator; see `alexnet.conv2d`.

    `features` is the number of output channels. Leave the bias out before a batch norm, which
    would take it away again.
    """

    features: int
    kernel_size: Size2d
    stride: Size2d = 1
    padding: Padding = "same"
    groups: int = 1
    bias: bool = True
    activation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self.name, "bias", self.bias)
        check_activation(self.name, self.activation)

    def _shape(self, input_shape: Shape) -> Conv2dShape:
        kernel = check_pair(self.name, "kernel_size", self.kernel_size)
        groups = check_int(self.name, "groups", self.groups, 1, LARGEST_SIZE)
        features = check_int(self.name, "features", self.features, 1, LARGEST_SIZE)
        weight = (*kernel, input_shape[-1] // groups, features)
        return conv2d_shape(self.name, input_shape, weight, self.stride, self.padding, groups)

    def _fans(self, input_shape: Shape) -> Fans:
        kernel_height, kernel_width, in_per_group, out = self._shape(input_shape).weight_shape
        taps = kernel_height * kernel_width
        return Fans(taps * in_per_group, taps * out // self.groups)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(batch, height, width, features)."""
        return self._shape(input_shape).output_shape

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Weight (kernel_height, kernel_width, in / groups, features), bias (features,)."""
        weight = {"weight": self._shape(input_shape).weight_shape}
        return weight | ({"bias": (self.features,)} if self.bias else {})

    def macs(self, input_shape: Shape) -> int:
        """One for each tap of each output, taps on padding included."""
        return self._shape(input_shape).macs

    def packed(self, packing: ModuleType, parameters: dict[str, Array]) -> Any:
        """As `packing` packs them for a convolution."""
        return packing.pack_conv2d(parameters["weight"], self.groups)

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Convolution, bias and activation."""
        bias = context.parameters.get("bias")
        how = {"stride": self.stride, "padding": self.padding, "activation": self.activation}
        if context.packing is not None:
            return context.packing.conv2d(x, context.packed, bias, **how, out=out)
        weight = context.parameters["weight"]
        return context.operators.conv2d(x, weight, bias, **how, groups=self.groups, out=out)

    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """Gradients of weight, bias and input."""
        dy = context.before_relu(dy, self.activation)
        how: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "groups": self.groups,
        }
        context.operators.conv2d_backward_weight(
            dy,
            context.x,
            self.kernel_size,
            **how,
            out=(context.gradients["weight"], context.gradients.get("bias")),
        )
        if dx is None:
            return None
        weight, shape = context.parameters["weight"], context.x.shape
        how |= context.input_relu()
        return context.operators.conv2d_backward_input(dy, weight, shape, **how, out=dx)


@explaining_arguments
@dataclass(frozen=True)
class Dense(_Product):
    """Fully connected layer, its bias and ReLU in one operator; see `alexnet.dense`.

    Leave the bias out before a batch norm, which would take it away again.
    """

    features: int
    bias: bool = True
    activation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self.name, "bias", self.bias)
        check_activation(self.name, self.activation)

    def _fans(self, input_shape: Shape) -> Fans:
        return Fans(input_shape[-1], self.features)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(batch, features) for an input (batch, in)."""
        if len(input_shape) != 2:
            raise ValueError(
                f"{self.name}: x has shape {input_shape}, expected (batch, features): "
                "a Flatten layer goes before the first Dense"
            )
        features = check_int(self.name, "features", self.features, 1, LARGEST_SIZE)
        weight = (input_shape[1], features)
        return dense_shape(self.name, input_shape[0], weight).output_shape

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Weight (in, features), bias (features,)."""
        weight = {"weight": (input_shape[-1], self.features)}
        return weight | ({"bias": (self.features,)} if self.bias else {})

    def macs(self, input_shape: Shape) -> int:
        """One for each weight and image."""
        return math.prod(input_shape) * self.features

    def packed(self, packing: ModuleType, parameters: dict[str, Array]) -> Any:
        """As `packing` packs them for a dense layer."""
        return packing.pack_dense(parameters["weight"])

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Product, bias and activation."""
        bias = context.parameters.get("bias")
        how = {"activation": self.activation, "out": out}
        if context.packing is not None:
            return context.packing.dense(x, context.packed, bias, **how)
        return context.operators.dense(x, context.parameters["weight"], bias, **how)

    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """Gradients of weight, bias and input."""
        dy = context.before_relu(dy, self.activation)
        gradients = (context.gradients["weight"], context.gradients.get("bias"))
        context.operators.dense_backward_weight(dy, context.x, out=gradients)
        if dx is None:
            return None
        how = context.input_relu()
        weight = context.parameters["weight"]
        return context.operators.dense_backward_input(dy, weight, **how, out=dx)


@dataclass(frozen=True)
class _Windowed(Layer):
    """What LRN and pooling share: an operator with settings, whose gradient reads its input."""

    passes_relu = True

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of its operators: the fields, but for the name."""
        return {field.name: getattr(self, field.name) for field in fields(self)[1:]}

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Compute each window's result."""
        return getattr(context.operators, self.operator)(x, **self.settings(), out=out)

    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """From the input, which is all that the gradient needs."""
        if dx is None:
            return None
        how = {**self.settings(), "through_relu": context.through_relu}
        backward = getattr(context.operators, f"{self.operator}_backward")
        return backward(dy, context.x, **how, out=dx)


@explaining_arguments
@dataclass(frozen=True)
class LRN(_Windowed):
    """Local response normalisation across channels; see `alexnet.lrn` for the formula."""

    operator = "lrn"

    depth_radius: int
    bias: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lrn_numbers(self.name, self.depth_radius, self.bias, self.alpha, self.beta)
        check_lrn_backward_numbers(self.name, self.bias, self.alpha, self.beta)


@explaining_arguments
@dataclass(frozen=True)
class MaxPool2d(_Windowed):
    """Max-pooling, whose gradient goes to each window's first maximum; see `alexnet.max_pool2d`."""

    operator = "max_pool2d"

    window: Size2d = 3
    stride: Size2d = 2
    padding: Padding = "valid"
    ceil_mode: bool = False

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Find each window's maximum, in bfloat16 where the layer before has handed that over."""
        if isinstance(x, np.ndarray) and x.dtype.name == "bfloat16":
            return bfloat16.max_pool2d(x, **self.settings(), out=out)
        return super().forward(context, x, out)

    def output_shape(self, input_shape: Shape) -> Shape:
        """(batch, height, width, channels) with fewer rows and columns."""
        return pool2d_shape(
            self.name, input_shape, self.window, self.stride, self.padding, self.ceil_mode
        ).output_shape


@explaining_arguments
@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over all axes but the last; see `alexnet.batch_norm`.

    Training normalises by the batch and moves the running mean and (unbiased) variance by the
    share `momentum` towards it, as PyTorch counts; inference uses the running ones.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1
    activation: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "epsilon", self.epsilon, above=0)
        check_number(self.name, "momentum", self.momentum, low=0, high=1)
        check_activation(self.name, self.activation)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Gamma and beta, one for each channel."""
        return {"gamma": (input_shape[-1],), "beta": (input_shape[-1],)}

    def initial_parameters(
        self, input_shape: Shape, initialisation: Initialisation, generator: Generator
    ) -> dict[str, AnyArray]:
        """Gamma 1, beta 0: plain normalisation."""
        channels = input_shape[-1]
        return {"gamma": np.ones(channels), "beta": np.zeros(channels)}

    def initial_state(self, input_shape: Shape) -> dict[str, AnyArray]:
        """Mean 0 and variance 1 before any training."""
        channels = input_shape[-1]
        return {"running_mean": np.zeros(channels), "running_variance": np.ones(channels)}

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Normalisation, scale, shift and activation."""
        gamma, beta = context.parameters["gamma"], context.parameters["beta"]
        running_mean = context.state["running_mean"]
        running_variance = context.state["running_variance"]
        given = {} if context.training else {"mean": running_mean, "variance": running_variance}
        y, mean, variance = context.operators.batch_norm(
            x, gamma, beta, **given, epsilon=self.epsilon, activation=self.activation, out=out
        )
        context.saved = (mean, variance)
        count = math.prod(x.shape[:-1])
        if context.training and count > 0:
            unbiased = count / max(count - 1, 1)
            context.fused.move_average(running_mean, self.momentum, mean, 1.0)
            context.fused.move_average(running_variance, self.momentum, variance, unbiased)
        return y

    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """Gradients of gamma, beta and input."""
        dy = context.before_relu(dy, self.activation)
        mean, variance = context.saved
        return context.operators.batch_norm_backward(
            dy,
            context.x,
            context.parameters["gamma"],
            mean,
            variance,
            epsilon=self.epsilon,
            training=context.training,
            out=(dx, context.gradients["gamma"], context.gradients["beta"]),
        )[0]


@explaining_arguments
@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout in training, nothing in inference; see `alexnet.dropout`.

    Computed in place: the layer before sees zeros where its outputs were dropped, and there its
    gradient is zero as well. Every training forward takes the next stream of the network's
    generator; backward makes the same mask again from the stream's number.
    """

    memory = "in place"

    rate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "rate", self.rate, low=0, below=1)

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """Drop and scale units in training; otherwise pass `x` on."""
        if not context.training:
            return x
        call_kernel(self._drop, context, x, out)
        return out

    def _drop(self, context: Context, x: Array, out: Array) -> None:
        # In a CUDA graph both numbers lie on the device, where `seed` says.
        later = graphs.numbers(context.generator.next_stream, np.uint64)
        context.saved = context.generator.next_stream() if later is None else (later, 0)
        seed, offset = context.saved
        context.operators.dropout(x, rate=self.rate, seed=seed, offset=offset, out=out)

    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """Apply the same mask and scale."""
        if dx is None or not context.training:
            return dy
        call_kernel(self._drop_backward, context, dy, dx)
        return dx

    def _drop_backward(self, context: Context, dy: Array, dx: Array) -> None:
        seed, offset = context.saved
        context.operators.dropout_backward(dy, rate=self.rate, seed=seed, offset=offset, out=dx)


@explaining_arguments
@dataclass(frozen=True)
class Flatten(Layer):
    """(batch, ...) seen as (batch, features), rows first and channels last; no copy."""

    memory = "view"

    def output_shape(self, input_shape: Shape) -> Shape:
        """(batch, features)."""
        return (input_shape[0], math.prod(input_shape[1:]))

    def forward(self, context: Context, x: Array, out: Array) -> Array:
        """View; no arithmetic."""
        return x.reshape(self.output_shape(x.shape))

    def backward(self, context: Context, dy: Array, dx: Array) -> Array:
        """View; no arithmetic."""
        return dy.reshape(context.x.shape)


LAYERS = (Conv2d, Dense, LRN, MaxPool2d, BatchNorm, Dropout, Flatten)


def is_known(layer: Layer) -> bool:
    """Whether the layer is one of these, not of a subclass, which may do more."""
    return type(layer) in LAYERS
