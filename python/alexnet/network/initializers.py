"""Initial values of parameters, drawn from the package's own generator.

Each initialiser is a rule for one array: it sees the array's shape and its fans, the number of
inputs (`fan_in`) and outputs (`fan_out`) that one weight array connects, kernel taps included.
"""

# ruff: noqa: ARG002 - the rules share one signature, and none needs all of it

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from alexnet.contract.arguments import Shape, check_instance, check_number, make_plain
from alexnet.messages import shown
from alexnet.random import Generator

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
CHUNK = 2**20  # values drawn at a time: a dense layer's would be hundreds of megabytes in float64

STDDEV_BOUND = 2.0**125  # up to 6.8 standard deviations are drawn, and float32 ends at 2**128


@dataclass(frozen=True)
class Fans:
    """Inputs of one output unit, and outputs that one input unit reaches."""

    fan_in: int
    fan_out: int


class Initializer(ABC):
    """A rule for the initial values of one parameter."""

    @abstractmethod
    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """`count` independent values; the generator's state alone decides them."""


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element the same."""

    value: float

    def __post_init__(self) -> None:
        check_number("Constant", "value", self.value)
        make_plain(self)

    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """Repeat the value; nothing is drawn."""
        return np.full(count, self.value)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal distribution with mean 0."""

    stddev: float

    def __post_init__(self) -> None:
        check_number("Normal", "stddev", self.stddev, low=0, below=STDDEV_BOUND)
        make_plain(self)

    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """Draw whatever the fans are."""
        return generator.normal(count, self.stddev)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal distribution with mean 0, redrawn beyond two standard deviations, as TensorFlow's."""

    stddev: float

    def __post_init__(self) -> None:
        check_number("TruncatedNormal", "stddev", self.stddev, low=0, below=STDDEV_BOUND)
        make_plain(self)

    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """Draw whatever the fans are."""
        return generator.truncated_normal(count, self.stddev)


@dataclass(frozen=True)
class HeNormal(Initializer):
    """Normal with variance 2 / fan_in (He et al. 2015): ReLU layers keep their signal's scale."""

    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """Variance from `fans.fan_in`."""
        return generator.normal(count, math.sqrt(2 / fans.fan_in))


@dataclass(frozen=True)
class XavierUniform(Initializer):
    """Uniform within sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""

    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """Bound from both fans."""
        bound = math.sqrt(6 / (fans.fan_in + fans.fan_out))
        return generator.uniform(count, -bound, bound)


@dataclass(frozen=True)
class FanInUniform(Initializer):
    """Uniform within 1 / sqrt(fan_in): PyTorch's default for weights and biases alike."""

    def draw(self, generator: Generator, count: int, fans: Fans) -> FloatArray:
        """Bound from `fans.fan_in`."""
        bound = 1 / math.sqrt(fans.fan_in)
        return generator.uniform(count, -bound, bound)


@dataclass(frozen=True)
class Initialisation:
    """The rules of a whole network: one for weights, one for biases, and named exceptions.

    `exceptions` maps a parameter's full name, such as "conv2.bias", to its own rule.
    """

    weight: Initializer
    bias: Initializer = Constant(0.0)
    exceptions: Mapping[str, Initializer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_instance("initialisation", "weight", self.weight, Initializer)
        check_instance("initialisation", "bias", self.bias, Initializer)
        check_instance("initialisation", "exceptions", self.exceptions, Mapping)
        for name, rule in self.exceptions.items():
            check_instance("initialisation", "exceptions", name, str)
            check_instance("initialisation", f"the exception {shown(name)}", rule, Initializer)

    def rule(self, layer: str, parameter: str) -> Initializer:
        """Find the initialiser of `parameter` ("weight" or "bias") of the layer of that name."""
        default = self.weight if parameter == "weight" else self.bias
        return self.exceptions.get(f"{layer}.{parameter}", default)


def initial_values(
    rule: Initializer, generator: Generator, shape: Shape, fans: Fans
) -> npt.NDArray[np.float32]:
    """Fill an array of `shape` by `rule`, a chunk at a time, each from a stream of its own.

    It is float32 whatever the network computes in, so that one seed gives every implementation
    the same parameters.
    """
    values = np.empty(math.prod(shape), np.float32)
    for begin in range(0, values.size, CHUNK):
        part = values[begin : begin + CHUNK]
        part[:] = rule.draw(generator, part.size, fans)
    return values.reshape(shape)


INITIALIZERS = (Constant, Normal, TruncatedNormal, HeNormal, XavierUniform, FanInUniform)
