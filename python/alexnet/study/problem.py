"""A ladder's operator at one size: its operands, what is expected of them, and how near."""

from __future__ import annotations

import dataclasses
import math
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference
from alexnet.comparison.cases import LayerCase, layer_cases
from alexnet.contract.arguments import Shape
from alexnet.cpu import fused
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, Conv2d, Dense, MaxPool2d
from alexnet.network.variant import Variant
from alexnet.study.fused import LRNMaxPool2d, pair_cases
from alexnet.study.ladders import LADDERS, Ladder
from alexnet.study.structures import narrowed, structure_of, values_of
from alexnet.verification.tolerance import WINOGRAD, bounds

AnyArray = npt.NDArray[Any]
LARGEST_ON_DEVICE = 2**31 - 1  # elements of an array, which kernels count in 32 bits
# A product of operands that are rounded to 10 bits of mantissa is at most this far off, relatively.
TF32_PRODUCT = (1 + 2.0**-11) ** 2 - 1


class Problem:
    """A ladder's operator at one size, with random operands, the same at every call.

    Parameters
    ----------
    ladder
        Which operator.
    case
        Layer, input's shape and batch size.

    Raises
    ------
    ValueError
        The layer is one that the ladder's rungs do not know: groups, unequal strides, windows that
        reach beyond the image; or, on a device, an array is too large.
    """

    def __init__(self, ladder: Ladder, case: LayerCase) -> None:
        self.ladder, self.case = ladder, case
        self._structure = structure_of(case)
        largest = max(map(math.prod, [*case.operand_shapes.values(), self.result_shape]))
        if ladder.device == "cuda" and largest > LARGEST_ON_DEVICE:
            raise ValueError(
                f"{case.layer.name}: an array of {largest} elements, expected at most "
                f"{LARGEST_ON_DEVICE} on a device"
            )

    @property
    def shape(self) -> bytes:
        """The structure of cpp/study/shapes.h or cuda/study.cuh that its rungs get."""
        if self.ladder.device == "cuda":
            return bytes(narrowed(self._structure))
        return bytes(self._structure)

    @property
    def sizes(self) -> dict[str, float]:
        """The same by the names of its fields: plain JSON values."""
        return values_of(self._structure)

    def figures(self) -> dict[str, Any]:
        """Say what is computed, in plain JSON values."""
        return {
            "ladder": self.ladder.full_name,
            "case": self.case.name,
            "shape": self.sizes,
            "flops": self.flops,
            "bytes": self.bytes,
        }

    @property
    def flops(self) -> int:
        """FLOP of the products by the definition, two for each MAC, whatever a rung spares."""
        return self.case.flops

    @property
    def bytes(self) -> int:
        """What has to be moved at least: every operand and the result once, nothing kept."""
        shapes = self.case.operand_shapes
        operands = [shapes[name] for name in self.ladder.operands if name in shapes]
        return 4 * sum(map(math.prod, [*operands, self.result_shape]))

    @property
    def result_shape(self) -> Shape:
        """Shape of what the rungs write."""
        return self.case.result_shapes[self.ladder.result]

    def with_batch_size(self, batch_size: int) -> Problem:
        """Give the same problem for another number of images."""
        return Problem(self.ladder, dataclasses.replace(self.case, batch_size=batch_size))

    def operands(self) -> list[AnyArray]:
        """Arrays that its rungs get before the result: random, and what forward has kept."""
        arrays = dict(self.case.operands())
        if "sums" in self.ladder.operands:
            layer: Any = self.case.layer
            squares = _window_sums(np.square(arrays["x"], dtype=np.float64), layer.depth_radius)
            arrays["sums"] = (layer.bias + layer.alpha * squares).astype(np.float32)
        if "taps" in self.ladder.operands:
            x, s = arrays["x"], self._structure
            if isinstance(self.case.layer, LRNMaxPool2d):
                x, s = reference.lrn(x.astype(np.float64), **self.case.layer.lrn.settings()), s.pool
            arrays["taps"] = _first_maxima(x, s)
        return [arrays[name] for name in self.ladder.operands]

    def expected(self, operands: list[AnyArray]) -> AnyArray:
        """Compute the result in float64, by `alexnet.reference`."""
        named = dict(zip(self.ladder.operands, operands, strict=True))
        arrays = {
            name: array.astype(np.float64)
            for name, array in named.items()
            if name not in ("sums", "taps")
        }
        layer, direction = self.case.layer, self.case.direction
        if isinstance(layer, Conv2d):
            how: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding}
            if direction == "forward":
                return reference.conv2d(arrays["x"], arrays["weight"], **how)
            if direction == "backward_input":
                return reference.conv2d_backward_input(
                    arrays["dy"], arrays["weight"], self.case.input_shape, **how
                )
            return reference.conv2d_backward_weight(
                arrays["dy"], arrays["x"], layer.kernel_size, **how
            )[0]
        if isinstance(layer, LRNMaxPool2d):
            return layer.expected(arrays)
        if isinstance(layer, Dense):
            if direction == "forward":
                return reference.dense(arrays["x"], arrays["weight"])
            if direction == "backward_input":
                return reference.dense_backward_input(arrays["dy"], arrays["weight"])
            return reference.dense_backward_weight(arrays["dy"], arrays["x"])[0]
        operator = getattr(reference, layer.operator + ("_backward" * (direction == "backward")))
        result: AnyArray = operator(*arrays.values(), **layer.settings())
        return result

    def operator(self, operands: list[Any], result: Any, precision: str = "float32") -> None:
        """Compute the result by the operator of `alexnet` that the last rung stands for.

        On a device that is, of a convolution, the direct algorithm.
        """
        layer, direction = self.case.layer, self.case.direction
        name = layer.operator
        how: dict[str, Any] = {**layer.settings(), "out": result}
        extra: tuple[Any, ...] = ()
        if isinstance(layer, LRNMaxPool2d):
            if direction == "forward":
                fused.lrn_max_pool2d(*operands, **how)
            else:
                fused.lrn_max_pool2d_backward(*operands, **how, through_relu=True)
            return
        if isinstance(layer, Conv2d):
            name, how = "conv2d", {"stride": layer.stride, "padding": layer.padding, "out": result}
            if direction == "backward_input":
                extra = (self.case.input_shape,)
            elif direction == "backward_weight":
                extra = (layer.kernel_size,)
        elif isinstance(layer, Dense):
            name = "dense"
        if direction == "backward_weight":
            how["out"] = (result, None)
        if self.ladder.device == "cuda" and isinstance(layer, Conv2d | Dense):
            how["precision"] = precision
            if isinstance(layer, Conv2d):
                how["algorithm"] = "direct"
        if direction != "forward":
            name += f"_{direction}"
        arrays = [
            array
            for array, kind in zip(operands, self.ladder.operands, strict=True)
            if kind not in ("sums", "taps")
        ]
        getattr(import_module(f"alexnet.{self.ladder.device}"), name)(*arrays, *extra, **how)

    def tolerance(self, precision: str = "float32") -> float:
        """Largest relative error in the L2 norm.

        The bounds are those of `alexnet.verification.tolerance`; on the CPU that of Winograd's
        algorithm for convolutions. In "tf32" the rounding of the operands comes on top.
        """
        if precision == "tf32":
            return TF32_PRODUCT + self.tolerance()
        if self.ladder.kind is Conv2d and self.ladder.device == "cpu":
            return WINOGRAD
        layer, direction = self.case.layer, self.case.direction
        if isinstance(layer, LRNMaxPool2d):
            halves = [self._alone(layer.lrn), self._alone(layer.pool)]
            return sum(half.tolerance() for half in halves)
        operator = layer.operator or ("dense" if isinstance(layer, Dense) else "conv2d")
        if direction != "forward":
            operator += f"_{direction}"
        shapes = {"x": self.case.input_shape, "dy": self.case.output_shape}
        shapes.update(self.case.parameter_shapes)
        arrays = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        others = {"algorithm": "direct", "groups": 1, **layer.settings()}
        return bounds(operator, {**arrays, **others})[self.ladder.result]

    def _alone(self, half: LRN | MaxPool2d) -> Problem:
        """Give the problem of one half of a fused pair."""
        kind, direction = type(half), self.case.direction
        ladder = next(
            other
            for other in LADDERS.values()
            if other.kind is kind and other.direction == direction
        )
        return Problem(ladder, dataclasses.replace(self.case, layer=half))


def _window_sums(values: AnyArray, radius: int) -> AnyArray:
    """Sum over the channels within `radius` of each."""
    channels = values.shape[-1]
    total = np.zeros_like(values)
    for offset in range(-radius, radius + 1):
        low, high = max(0, offset), min(channels, channels + offset)
        if low < high:
            total[..., low - offset : high - offset] += values[..., low:high]
    return total


def _first_maxima(x: AnyArray, s: Any) -> AnyArray:
    """For every window the number, in row-major order, of its first maximum."""
    taps = []
    for row in range(s.window):
        for column in range(s.window):
            rows = slice(row, row + (s.out_height - 1) * s.stride + 1, s.stride)
            columns = slice(column, column + (s.out_width - 1) * s.stride + 1, s.stride)
            taps.append(x[:, rows, columns, :])
    first: AnyArray = np.argmax(np.stack(taps), axis=0).astype(np.float32)
    return first


def layer_problem(ladder: Ladder, variant: Variant, layer: str | None, batch_size: int) -> Problem:
    """Give the problem of a network's layer; the first that fits where `layer` is None.

    Raises
    ------
    ValueError
        The network has no such layer, or it is of another kind.
    """
    cases = {
        case.layer.name: case
        for case in [*layer_cases(variant, batch_size), *pair_cases(variant, batch_size)]
        if type(case.layer) is ladder.kind and case.direction == ladder.direction
    }
    if layer is None:
        layer = ladder.layer if ladder.layer in cases else next(iter(cases), None)
    if layer not in cases:
        raise ValueError(
            f"layer {layer!r} of {variant.name} has no {ladder.name}; "
            f"expected one of {', '.join(cases) or '(it has none)'}"
        )
    return Problem(ladder, cases[layer])


def own_problem(ladder: Ladder, layer: Layer, image_shape: Shape, batch_size: int) -> Problem:
    """Give the problem of a layer that belongs to no network."""
    return Problem(ladder, LayerCase("own", layer, image_shape, ladder.direction, batch_size))


def changed_problem(problem: Problem, image_shape: Shape | None, **changes: Any) -> Problem:
    """Give a problem with another input, or with other fields of its layer.

    Raises
    ------
    ValueError
        The layer has no such field, or its kernel does not fit into the input.
    """
    case, ladder = problem.case, problem.ladder
    known = {field.name for field in dataclasses.fields(case.layer)}
    for name in changes:
        if name not in known:
            raise ValueError(f"{ladder.name}: its layers have no {name}")
    if image_shape is not None and len(image_shape) != len(case.image_shape):
        raise ValueError(
            f"{ladder.name}: input {','.join(map(str, image_shape))}, "
            f"expected {len(case.image_shape)} numbers"
        )
    layer = dataclasses.replace(case.layer, **changes)
    return own_problem(ladder, layer, image_shape or case.image_shape, case.batch_size)
