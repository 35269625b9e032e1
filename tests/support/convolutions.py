"""Convolutions for the tests: their arguments, random data, and what the reference makes of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from alexnet import _cpu, cpu, reference
from alexnet.contract.shapes import Conv2dShape, conv2d_shape
from support.arrays import Guarded, largest_product_error, random_array, relative_error
from support.implementations import Implementation

ALGORITHMS = ("auto", *cpu.conv2d_algorithms())
each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)

Array = npt.NDArray[np.float32]
Result = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One convolution: the shape of x (batch, height, width, channels), kernel and options."""

    x: tuple[int, int, int, int]
    kernel: tuple[int, int]
    features: int
    stride: int | tuple[int, int] = 1
    padding: Any = "same"
    groups: int = 1

    def __str__(self) -> str:
        x, kernel = "x".join(map(str, self.x)), "x".join(map(str, self.kernel))
        text = f"{x}-{kernel}-{self.features}-s{self.stride}-p{self.padding}-g{self.groups}"
        return text.replace(" ", "")

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "groups": self.groups}

    @property
    def shape(self) -> Conv2dShape:
        weight = (*self.kernel, self.x[3] // self.groups, self.features)
        return conv2d_shape("conv2d", self.x, weight, **self.options)

    @functools.cached_property
    def data(self) -> Data:
        """The same random numbers every time."""
        shape = self.shape
        return Data(
            x=random_array(1, *shape.input_shape),
            weight=random_array(2, *shape.weight_shape),
            bias=random_array(3, shape.out_channels),
            dy=random_array(4, *shape.output_shape),
        )

    @functools.cached_property
    def expected(self) -> Expected:
        return self.expected_of(self.data)

    def expected_of(self, data: Data) -> Expected:
        options = self.options
        y = reference.conv2d(data.x, data.weight, data.bias, **options)
        dx = reference.conv2d_backward_input(data.dy, data.weight, self.x, **options)
        dweight, dbias = reference.conv2d_backward_weight(data.dy, data.x, self.kernel, **options)
        return Expected(y, dx, dweight, dbias)

    @property
    def depths(self) -> dict[str, int]:
        """How many products an element of each result sums."""
        shape, taps = self.shape, math.prod(self.kernel)
        window = taps * shape.in_channels // shape.groups
        pixels = math.prod(shape.output_shape[:3])
        return {
            "y": window,
            "rectified": window,
            "dx": taps * shape.out_channels // shape.groups,
            "dweight": pixels,
            "dbias": pixels,
        }


@dataclass(frozen=True)
class Data:
    x: Array
    weight: Array
    bias: Array
    dy: Array


@dataclass(frozen=True)
class Expected:
    y: Result
    dx: Result
    dweight: Result
    dbias: Result


# Transforms to and from 8 interpolation points enlarge rounding errors: cpp/cpu/conv2d_winograd.cpp
# gives 2e-6 to 5e-6 as relative L2 error, and tests/test_conv2d_winograd.py this bound. It holds
# for sums over some hundred channels; from there it grows as the error of any sum, with the root.
LARGEST_WINOGRAD_ERROR = 1e-5
WINOGRAD_CHANNELS = 512


def bound(case: Case, algorithm: str, direction: str, depth: int, channels: int = 1) -> float:
    """Of the relative L2 error where an element sums `depth` products, over `channels` of them."""
    if algorithm == "auto":
        algorithm = _cpu.conv2d_choice(case.shape, direction)
    if algorithm == "winograd":
        return LARGEST_WINOGRAD_ERROR * max(1.0, math.sqrt(channels / WINOGRAD_CHANNELS))
    return largest_product_error(depth)


def serves(algorithm: str, call: Callable[[], object]) -> bool:
    """Whether the call went through; Winograd may refuse a shape that it is not made for."""
    try:
        call()
    except ValueError as error:
        if algorithm == "winograd" and "cannot serve this convolution" in str(error):
            return False
        raise
    return True


def run(
    case: Case, algorithm: str, data: Data, out: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """y, dx, dweight and dbias, as far as the algorithm serves their directions.

    In the arrays of `out` where given, else in new ones.
    """
    out = out or {}
    how = {**case.options, "algorithm": algorithm}
    results: dict[str, Array] = {}

    def forward() -> None:
        arguments = data.x, data.weight, data.bias
        results["y"] = cpu.conv2d(*arguments, **how, out=out.get("y"))

    def backward_input() -> None:
        arguments = data.dy, data.weight, case.x
        results["dx"] = cpu.conv2d_backward_input(*arguments, **how, out=out.get("dx"))

    def backward_weight() -> None:
        both = out.get("dweight"), out.get("dbias")
        results["dweight"], results["dbias"] = cpu.conv2d_backward_weight(
            data.dy, data.x, case.kernel, **how, out=both
        )

    for direction in (forward, backward_input, backward_weight):
        serves(algorithm, direction)
    return results


def check_all(case: Case, algorithm: str) -> None:
    """All directions against the reference, each in a guarded output."""
    _check_forward(case, algorithm)
    _check_backward_input(case, algorithm)
    _check_backward_weight(case, algorithm)


def _check_forward(case: Case, algorithm: str) -> None:
    """With bias, with bias and ReLU, and without either."""
    data, shape, y = case.data, case.shape, case.expected.y
    depth, channels = math.prod(shape.weight_shape[:3]), shape.weight_shape[2]
    limit = bound(case, algorithm, "forward", depth, channels)
    for bias, activation, expected in (
        (data.bias, None, y),
        (data.bias, "relu", np.maximum(y, 0)),
        (None, None, y - data.bias),
    ):
        out = Guarded(shape.output_shape)
        how = {**case.options, "activation": activation, "algorithm": algorithm}
        call = functools.partial(cpu.conv2d, data.x, data.weight, bias, **how, out=out.array)
        if serves(algorithm, call):
            assert relative_error(out.array, expected) <= limit
        out.check()


def _check_backward_input(case: Case, algorithm: str) -> None:
    data, shape = case.data, case.shape
    channels = shape.out_channels // shape.groups
    depth = shape.kernel_height * shape.kernel_width * channels
    dx = Guarded(shape.input_shape)
    how = {**case.options, "algorithm": algorithm, "out": dx.array}
    call = functools.partial(cpu.conv2d_backward_input, data.dy, data.weight, case.x, **how)
    if serves(algorithm, call):
        limit = bound(case, algorithm, "backward_input", depth, channels)
        assert relative_error(dx.array, case.expected.dx) <= limit
    dx.check()


def _check_backward_weight(case: Case, algorithm: str) -> None:
    data, shape, expected = case.data, case.shape, case.expected
    dweight, dbias = Guarded(shape.weight_shape), Guarded((shape.out_channels,))
    how = {**case.options, "algorithm": algorithm, "out": (dweight.array, dbias.array)}
    call = functools.partial(cpu.conv2d_backward_weight, data.dy, data.x, case.kernel, **how)
    if serves(algorithm, call):
        pixels = math.prod(shape.output_shape[:3])
        limit = bound(case, algorithm, "backward_weight", pixels)
        assert relative_error(dweight.array, expected.dweight) <= limit
        assert relative_error(dbias.array, expected.dbias) <= largest_product_error(pixels)
    dweight.check()
    dbias.check()


def expected_of(case: Case, data: Data) -> dict[str, Result]:
    """What the reference makes of any data, by the names that `run_guarded` gives its results."""
    y = reference.conv2d(data.x, data.weight, data.bias, **case.options)
    dx = reference.conv2d_backward_input(data.dy, data.weight, case.x, **case.options)
    dweight, dbias = reference.conv2d_backward_weight(data.dy, data.x, case.kernel, **case.options)
    return {"y": y, "rectified": np.maximum(y, 0), "dx": dx, "dweight": dweight, "dbias": dbias}


def run_guarded(
    on: Implementation, case: Case, data: Data, offset: int = 0, **how: Any
) -> dict[str, Array]:
    """All results, each in a guarded array; CUDA's `offset` floats behind what is aligned."""
    place = {"offset": offset} if offset else {}
    shape, how = case.shape, {**case.options, **how}
    x, weight, bias, dy = (
        on.array(values, **place) for values in (data.x, data.weight, data.bias, data.dy)
    )
    guarded = {
        "y": on.guarded(shape.output_shape, **place),
        "rectified": on.guarded(shape.output_shape, **place),
        "dx": on.guarded(shape.input_shape, **place),
        "dweight": on.guarded(shape.weight_shape, **place),
        "dbias": on.guarded((shape.out_channels,), **place),
    }
    out = {name: output.array for name, output in guarded.items()}
    assert on.conv2d(x, weight, bias, **how, out=out["y"]) is out["y"]
    on.conv2d(x, weight, bias, activation="relu", **how, out=out["rectified"])
    on.conv2d_backward_input(dy, weight, case.x, **how, out=out["dx"])
    both = out["dweight"], out["dbias"]
    on.conv2d_backward_weight(dy, x, case.kernel, **how, out=both)
    return {name: output.get() for name, output in guarded.items()}
