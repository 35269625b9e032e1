"""Shapes of the operators: what fits together, and the size of what comes out.

Only shapes and plain parameters are looked at, so the same code serves NumPy and device arrays.
`arguments.py` says what the errors look like; `calls.py` checks whole calls with what is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import ParamSpec, TypeAlias, TypeVar

from alexnet.contract import hints
from alexnet.contract.arguments import (
    LARGEST_SIZE,
    Shape,
    Size2d,
    check_activation,
    check_algorithm,
    check_extents,
    check_flag,
    check_int,
    check_ndim,
    check_pair,
    check_shape,
)
from alexnet.messages import hint, shown

__all__ = [
    "ChannelsShape",
    "Conv2dShape",
    "DenseShape",
    "Padding",
    "Pads",
    "Pool2dShape",
    "Shape",
    "Size2d",
    "channels_shape",
    "check_activation",
    "check_algorithm",
    "check_groups",
    "check_ndim",
    "check_shape",
    "conv2d_shape",
    "dense_shape",
    "pool2d_shape",
    "resolve_padding",
    "same_padding",
]

Padding: TypeAlias = str | int | tuple[Sequence[int], Sequence[int]] | list[Sequence[int]]
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

_P = ParamSpec("_P")
_T = TypeVar("_T")

IMAGE_AXES = ("batch", "height", "width", "channels")


@dataclass(frozen=True, slots=True)
class Conv2dShape:
    """All extents of one 2-D convolution (NHWC activations, HWIO weights)."""

    batch: int
    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    groups: int

    @property
    def input_shape(self) -> Shape:
        """Shape of x and dx."""
        return (self.batch, self.in_height, self.in_width, self.in_channels)

    @property
    def output_shape(self) -> Shape:
        """Shape of y and dy."""
        return (self.batch, self.out_height, self.out_width, self.out_channels)

    @property
    def weight_shape(self) -> Shape:
        """Shape of weight and dweight."""
        in_per_group = self.in_channels // self.groups
        return (self.kernel_height, self.kernel_width, in_per_group, self.out_channels)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass; taps on padding are counted."""
        return math.prod(self.output_shape) * math.prod(self.weight_shape[:3])


@dataclass(frozen=True, slots=True)
class Pool2dShape:
    """All extents of one 2-D pooling. Windows may reach beyond the image, never start beyond it."""

    batch: int
    in_height: int
    in_width: int
    channels: int
    out_height: int
    out_width: int
    window_height: int
    window_width: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_left: int

    @property
    def input_shape(self) -> Shape:
        """Shape of x and dx."""
        return (self.batch, self.in_height, self.in_width, self.channels)

    @property
    def output_shape(self) -> Shape:
        """Shape of y and dy."""
        return (self.batch, self.out_height, self.out_width, self.channels)


@dataclass(frozen=True, slots=True)
class DenseShape:
    """Extents of one dense layer: x (batch, in), weight (in, out), y (batch, out)."""

    batch: int
    in_features: int
    out_features: int

    @property
    def input_shape(self) -> Shape:
        """Shape of x and dx."""
        return (self.batch, self.in_features)

    @property
    def output_shape(self) -> Shape:
        """Shape of y and dy."""
        return (self.batch, self.out_features)

    @property
    def weight_shape(self) -> Shape:
        """Shape of weight and dweight."""
        return (self.in_features, self.out_features)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass."""
        return self.batch * self.in_features * self.out_features


@dataclass(frozen=True, slots=True)
class ChannelsShape:
    """An array (..., channels) seen as a matrix (pixels, channels): LRN and batch norm."""

    pixels: int
    channels: int


# --- padding and output sizes -------------------------------------------------------------------


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME along one axis: ceil(size/stride) outputs, the odd pixel after."""
    total = max(0, (-(-size // stride) - 1) * stride + window - size)
    return total // 2, total - total // 2


def resolve_padding(
    operator: str,
    padding: Padding,
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
) -> Pads:
    """Express `padding` as ((top, bottom), (left, right)); sizes are (height, width)."""
    if isinstance(padding, str):
        if padding == "same":
            return (
                same_padding(size[0], window[0], stride[0]),
                same_padding(size[1], window[1], stride[1]),
            )
        if padding == "valid":
            return (0, 0), (0, 0)
    elif isinstance(padding, tuple | list):
        if [isinstance(pair, tuple | list) and len(pair) for pair in padding] == [2, 2]:
            vertical, horizontal = padding
            return (
                check_pair(operator, "padding", vertical, low=0),
                check_pair(operator, "padding", horizontal, low=0),
            )
    else:
        pad = check_int(operator, "padding", padding, 0, LARGEST_SIZE)
        return (pad, pad), (pad, pad)
    raise ValueError(
        f"{operator}: padding is {shown(padding)}, expected 'same', 'valid', an integer or "
        f"((top, bottom), (left, right)){hint(padding, ('same', 'valid'))}"
    )


def check_groups(
    operator: str,
    groups: object,
    in_channels: int,
    out_channels: int,
    input_name: str,
    hint: str = "",
) -> int:
    """Return `groups` as an int if it divides the channels of x and of y; `hint` ends the error."""
    count = check_int(operator, "groups", groups, 1, LARGEST_SIZE)
    if in_channels % count or out_channels % count:
        raise ValueError(
            f"{operator}: groups is {count}, expected a divisor of the {in_channels} channels of "
            f"{input_name} and of the {out_channels} output channels{hint}"
        )
    return count


def _remembered(shapes: int) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Cache a function whose arguments are an operator's name, `shapes` shapes, and options.

    A network asks for the same few results in every step. A call is cached if each of its options
    is an integer, a string or a bool. Calls with a pair are not: the cache tells the types of
    arguments apart, but not those inside a tuple, so (True, 2), which is an error, would get the
    result of (1, 2).
    """

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        remembering = lru_cache(maxsize=1024, typed=True)(function)

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            plain = all(type(value) is tuple for value in args[1 : 1 + shapes]) and all(
                type(value) in (int, str, bool) for value in (*args[1 + shapes :], *kwargs.values())
            )
            return (remembering if plain else function)(*args, **kwargs)  # type: ignore[arg-type]

        return call

    return decorate


@_remembered(shapes=2)
def conv2d_shape(
    operator: str,
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: Size2d,
    padding: Padding,
    groups: int,
    *,
    input_name: str = "x",
    weight_name: str = "weight",
) -> Conv2dShape:
    """Extents of a convolution; out = floor((in + pads - kernel) / stride) + 1 along each axis."""
    check_ndim(operator, input_name, input_shape, IMAGE_AXES)
    if len(weight_shape) != 4:
        raise ValueError(
            f"{operator}: {weight_name} has shape {tuple(weight_shape)}, "
            "expected (kernel_height, kernel_width, in_channels / groups, out_channels)"
        )
    check_extents(operator, weight_name, weight_shape, first=1)
    batch, in_height, in_width, in_channels = input_shape
    kernel_height, kernel_width, in_per_group, out_channels = weight_shape
    strides = check_pair(operator, "stride", stride)
    size, kernel = (in_height, in_width), (kernel_height, kernel_width)
    pads = resolve_padding(operator, padding, size, kernel, strides)
    hint = hints.of_convolution(input_name, input_shape, weight_name, weight_shape, groups)
    groups = check_groups(operator, groups, in_channels, out_channels, input_name, hint)
    if in_per_group != in_channels // groups:
        raise ValueError(
            f"{operator}: {weight_name} has {in_per_group} input channels per group, but "
            f"{input_name} has {in_channels} channels and groups={groups} "
            f"(expected {in_channels // groups}){hint}"
        )
    padded = (in_height + sum(pads[0]), in_width + sum(pads[1]))
    if kernel_height > padded[0] or kernel_width > padded[1]:
        raise ValueError(
            f"{operator}: {weight_name} spans {kernel_height}x{kernel_width}, expected at most "
            f"{padded[0]}x{padded[1]}, the height and width of {input_name} with padding"
        )
    return Conv2dShape(
        batch=batch,
        in_height=in_height,
        in_width=in_width,
        in_channels=in_channels,
        out_height=(padded[0] - kernel_height) // strides[0] + 1,
        out_width=(padded[1] - kernel_width) // strides[1] + 1,
        out_channels=out_channels,
        kernel_height=kernel_height,
        kernel_width=kernel_width,
        stride_height=strides[0],
        stride_width=strides[1],
        pad_top=pads[0][0],
        pad_bottom=pads[0][1],
        pad_left=pads[1][0],
        pad_right=pads[1][1],
        groups=groups,
    )


@_remembered(shapes=1)
def pool2d_shape(
    operator: str,
    input_shape: Sequence[int],
    window: Size2d,
    stride: Size2d,
    padding: Padding,
    ceil_mode: bool,
    *,
    input_name: str = "x",
) -> Pool2dShape:
    """Extents of a pooling; out = floor((in + pads - window) / stride) + 1 along each axis.

    With `ceil_mode` the quotient is rounded up, and a last window that would start beyond the
    image and its leading padding is dropped: the rule of Caffe and PyTorch. Pads stay smaller
    than the window, so that every window covers at least one pixel.
    """
    check_ndim(operator, input_name, input_shape, IMAGE_AXES)
    batch, in_height, in_width, channels = input_shape
    windows = check_pair(operator, "window", window)
    strides = check_pair(operator, "stride", stride)
    size = (in_height, in_width)
    pads = resolve_padding(operator, padding, size, windows, strides)
    round_up = check_flag(operator, "ceil_mode", ceil_mode)
    if max(pads[0]) >= windows[0] or max(pads[1]) >= windows[1]:
        raise ValueError(
            f"{operator}: padding is {shown(padding)}, expected less than the window "
            f"{windows[0]}x{windows[1]} on every side"
        )
    out = []
    for axis in range(2):
        leading, trailing = pads[axis]
        room = size[axis] + leading + trailing - windows[axis]
        steps = -(-room // strides[axis]) if round_up else room // strides[axis]
        if round_up and steps * strides[axis] >= size[axis] + leading:
            steps -= 1
        out.append(steps + 1)
    if min(out) < 1:
        padded = (in_height + sum(pads[0]), in_width + sum(pads[1]))
        raise ValueError(
            f"{operator}: window is {windows[0]}x{windows[1]}, expected at most "
            f"{padded[0]}x{padded[1]}, the height and width of {input_name} with padding"
        )
    return Pool2dShape(
        batch=batch,
        in_height=in_height,
        in_width=in_width,
        channels=channels,
        out_height=out[0],
        out_width=out[1],
        window_height=windows[0],
        window_width=windows[1],
        stride_height=strides[0],
        stride_width=strides[1],
        pad_top=pads[0][0],
        pad_left=pads[1][0],
    )


def dense_shape(
    operator: str, batch: int, weight_shape: Sequence[int], *, weight_name: str = "weight"
) -> DenseShape:
    """Extents of a dense layer on `batch` rows, from its weight (in_features, out_features)."""
    if len(weight_shape) != 2:
        raise ValueError(
            f"{operator}: {weight_name} has shape {tuple(weight_shape)}, "
            "expected (in_features, out_features)"
        )
    check_extents(operator, weight_name, weight_shape, first=1)
    return DenseShape(batch, weight_shape[0], weight_shape[1])


def channels_shape(operator: str, argument: str, shape: Sequence[int]) -> ChannelsShape:
    """See an array (batch, ..., channels), of at least two axes, as (pixels, channels)."""
    if len(shape) < 2:
        raise ValueError(
            f"{operator}: {argument} has shape {tuple(shape)}, expected (batch, ..., channels)"
        )
    check_extents(operator, argument, shape, first=0)
    return ChannelsShape(math.prod(shape[:-1]), shape[-1])
