"""What each ladder computes: its layer and direction, its arrays, the shape as its rungs get it.

A ladder's name is that of its folder in cpp/study with hyphens: ``conv2d-forward`` is
``cpp/study/conv2d_forward``, and the ladder of the same name for CUDA
``cpp/study/conv2d_forward_cuda``.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import reference
from alexnet.comparison.cases import LayerCase, layer_cases
from alexnet.contract.arguments import Shape, check_pair
from alexnet.contract.shapes import conv2d_shape, pool2d_shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, Conv2d, Dense, MaxPool2d
from alexnet.network.variant import Variant
from alexnet.verification.tolerance import WINOGRAD, bounds

AnyArray = npt.NDArray[Any]
ARITHMETIC, MEMORY = "arithmetic", "memory"
# A product of operands that are rounded to 10 bits of mantissa is at most this far off, relatively.
TF32_PRODUCT = (1 + 2.0**-11) ** 2 - 1


@dataclass(frozen=True)
class Ladder:
    """One operator in one direction.

    Attributes
    ----------
    name
        As the command takes it.
    kind
        The layer that it computes.
    direction
        Of `alexnet.comparison.cases`.
    operands, result
        Names of the arrays that its rungs get, in their order, and of the one that they write.
    bound
        What the last rung's time is compared with: ARITHMETIC, the peak of fused multiply-adds,
        or MEMORY, the peak of copying.
    variant, layer
        What runs where nobody asks for another.
    device
        "cpu" or "cuda".
    """

    name: str
    kind: type[Layer]
    direction: str
    operands: tuple[str, ...]
    result: str
    bound: str
    variant: str
    layer: str
    device: str = "cpu"

    @property
    def full_name(self) -> str:
        """Name that tells ladders of the two devices apart."""
        return self.name if self.device == "cpu" else f"{self.name}-{self.device}"

    @property
    def folder(self) -> str:
        """Name of its folder in cpp/study."""
        return self.full_name.replace("-", "_")


def _ladders(
    operator: str, kind: type[Layer], bound: str, place: tuple[str, str], *directions: Any
) -> list[Ladder]:
    return [
        Ladder(f"{operator}-{name}", kind, direction, operands, result, bound, *place)
        for name, direction, operands, result in directions
    ]


_PRODUCTS = (
    ("forward", "forward", ("x", "weight"), "y"),
    ("input-gradient", "backward_input", ("dy", "weight"), "dx"),
    ("weight-gradient", "backward_weight", ("dy", "x"), "dweight"),
)
LADDERS = {
    ladder.name: ladder
    for ladder in [
        *_ladders("conv2d", Conv2d, ARITHMETIC, ("tf-tutorial", "conv3"), *_PRODUCTS),
        *_ladders(
            "lrn",
            LRN,
            MEMORY,
            ("tf-tutorial", "lrn1"),
            ("forward", "forward", ("x",), "y"),
            ("gradient", "backward", ("dy", "x", "sums"), "dx"),
        ),
        *_ladders(
            "max-pool2d",
            MaxPool2d,
            MEMORY,
            ("tf-tutorial", "pool1"),
            ("forward", "forward", ("x",), "y"),
            ("gradient", "backward", ("dy", "x", "taps"), "dx"),
        ),
        *_ladders("dense", Dense, ARITHMETIC, ("tf-full", "fc7"), *_PRODUCTS),
    ]
}
CUDA_LADDERS = {
    name: dataclasses.replace(ladder, device="cuda")
    for name, ladder in LADDERS.items()
    if name not in ("dense-input-gradient", "dense-weight-gradient")
}
LARGEST_ON_DEVICE = 2**31 - 1  # elements of an array, which kernels count in 32 bits


class _Conv2d(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("batch", "in_height", "in_width", "in_channels"),
            *("out_height", "out_width", "out_channels"),
            *("kernel_height", "kernel_width", "stride", "pad_top", "pad_left"),
        )
    )


class _Dense(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in ("batch", "in_features", "out_features"))


class _Lrn(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("pixels", "channels", "radius")),
        *((name, ctypes.c_float) for name in ("bias", "alpha", "beta")),
    )


class _MaxPool2d(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("batch", "in_height", "in_width", "channels"),
            *("out_height", "out_width", "window", "stride"),
        )
    )


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
        reach beyond the image.
    """

    def __init__(self, ladder: Ladder, case: LayerCase) -> None:
        self.ladder, self.case = ladder, case
        self._structure = self._described()
        largest = max(map(math.prod, [*case.operand_shapes.values(), self.result_shape]))
        if ladder.device == "cuda" and largest > LARGEST_ON_DEVICE:
            raise ValueError(f"{case.layer.name}: an array of {largest} elements, expected less")

    @property
    def shape(self) -> bytes:
        """The structure of cpp/study/shapes.h or cuda/study.cuh that its rungs get."""
        if self.ladder.device == "cpu":
            return bytes(self._structure)
        return bytes(_narrowed(self._structure))

    @property
    def sizes(self) -> dict[str, float]:
        """The same by the names of its fields: plain JSON values."""
        names = [field[0] for field in self._structure._fields_]
        return {name: getattr(self._structure, name) for name in names}

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
            arrays["taps"] = _first_maxima(arrays["x"], self._structure)
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
        if isinstance(layer, Dense):
            if direction == "forward":
                return reference.dense(arrays["x"], arrays["weight"])
            if direction == "backward_input":
                return reference.dense_backward_input(arrays["dy"], arrays["weight"])
            return reference.dense_backward_weight(arrays["dy"], arrays["x"])[0]
        operator = getattr(reference, layer.operator + ("_backward" * (direction == "backward")))
        result: AnyArray = operator(*arrays.values(), **layer.settings())
        return result

    def tolerance(self, precision: str = "float32") -> float:
        """Largest relative error in the L2 norm.

        The bounds are those of `alexnet.verification.tolerance`; on the CPU that of Winograd's
        algorithm for convolutions. In "tf32" the rounding of the operands comes on top.
        """
        layer, direction = self.case.layer, self.case.direction
        if precision == "tf32":
            return TF32_PRODUCT + self.tolerance()
        if self.ladder.kind is Conv2d and self.ladder.device == "cpu":
            return WINOGRAD
        operator = layer.operator or ("dense" if isinstance(layer, Dense) else "conv2d")
        if direction != "forward":
            operator += f"_{direction}"
        shapes = {"x": self.case.input_shape, "dy": self.case.output_shape}
        shapes.update(self.case.parameter_shapes)
        arrays = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        others = {"algorithm": "direct", "groups": 1, **layer.settings()}
        return bounds(operator, {**arrays, **others})[self.ladder.result]

    def _described(self) -> ctypes.Structure:
        layer, shape = self.case.layer, self.case.input_shape
        if isinstance(layer, Conv2d):
            weight = self.case.parameter_shapes["weight"]
            if layer.groups != 1:
                raise ValueError(
                    f"{layer.name}: has {layer.groups} groups, expected 1 in the ladders"
                )
            s = conv2d_shape(layer.name, shape, weight, layer.stride, layer.padding, groups=1)
            if s.pad_top >= s.kernel_height or s.pad_left >= s.kernel_width:
                raise ValueError(f"{layer.name}: expected less padding than the kernel has")
            return _filled(_Conv2d, s, stride=_equal(layer.name, layer.stride))
        if isinstance(layer, MaxPool2d):
            p = pool2d_shape(
                layer.name, shape, layer.window, layer.stride, layer.padding, layer.ceil_mode
            )
            window, stride = _equal(layer.name, layer.window), _equal(layer.name, layer.stride)
            last = ((p.out_height - 1) * stride + window, (p.out_width - 1) * stride + window)
            if (p.pad_top, p.pad_left) != (0, 0) or last > shape[1:3]:
                raise ValueError(f"{layer.name}: expected windows inside of the image")
            return _filled(_MaxPool2d, p, window=window, stride=stride)
        if isinstance(layer, LRN):
            pixels, channels = math.prod(shape[:-1]), shape[-1]
            return _Lrn(pixels, channels, layer.depth_radius, layer.bias, layer.alpha, layer.beta)
        weight = self.case.parameter_shapes["weight"]
        return _Dense(shape[0], *weight)


def _equal(owner: str, pair: Any) -> int:
    height, width = check_pair(owner, "stride or window", pair)
    if height != width:
        raise ValueError(f"{owner}: {height} by {width}, expected equal numbers in the ladders")
    return height


def _narrowed(structure: ctypes.Structure) -> ctypes.Structure:
    """Give the same with integers of 32 bits."""
    fields = tuple(
        (field[0], ctypes.c_int32 if field[1] is ctypes.c_size_t else field[1])
        for field in structure._fields_
    )
    narrow = type("Narrow", (ctypes.Structure,), {"_fields_": fields})
    result: ctypes.Structure = narrow(*(getattr(structure, name) for name, _ in fields))
    return result


def _filled(structure: type[ctypes.Structure], shape: Any, **others: int) -> ctypes.Structure:
    names = [field[0] for field in structure._fields_]
    return structure(*(others[name] if name in others else getattr(shape, name) for name in names))


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
        for case in layer_cases(variant, batch_size)
        if isinstance(case.layer, ladder.kind) and case.direction == ladder.direction
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
