"""What a device computes in one pass over memory, or with notes from its forward.

A network asks for it as for `alexnet.cpu.fused`, which says what the names are. Here it is LRN with
the pooling behind it, and pooling by itself: its forward in training notes where the maxima are, a
byte each, so that its gradient reads neither them nor what was pooled. Arrays are those of the two
operators, and hold what theirs may: float32, bfloat16 or float16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cupy

from alexnet import _cuda
from alexnet.arrays import Array
from alexnet.contract import calls
from alexnet.contract.arguments import Size2d, check_array, check_out, check_pair, check_shape
from alexnet.contract.shapes import ChannelsShape, Padding, Pool2dShape
from alexnet.cuda._arrays import DEVICE, DeviceArray, as_stored, make_output, stream
from alexnet.cuda.lrn import check_channels
from alexnet.cuda.max_pool2d import make_positions

CALLS_ARE_RECORDED = False
PRODUCTS_PASS_RELU = True
MOST_POSITIONS = 128  # of a window, whose numbers a byte holds


class LRNMaxPool2d:
    """An LRN and the pooling behind it, of the settings that their operators take by keyword."""

    length = 2  # layers

    def __init__(self, lrn: Mapping[str, Any], pool: Mapping[str, Any]) -> None:
        self._settings = {**lrn, **pool}

    def forward(self, x: Array, out: Array, training: bool) -> tuple[Array, ...]:
        """Normalise and pool; in training, return where the maxima were, for `backward`."""
        positions = cupy.empty(out.shape, cupy.uint8) if training else None
        lrn_max_pool2d(x, **self._settings, out=out, positions=positions)
        return () if positions is None else (positions,)

    def backward(
        self, dy: Array, x: Array, saved: tuple[Array, ...], through_relu: bool, dx: Array
    ) -> None:
        """Take the pooled gradient to that of the LRN's input, after a forward in training."""
        lrn_max_pool2d_backward(dy, x, *saved, **self._settings, through_relu=through_relu, out=dx)


class MaxPool2d:
    """Pooling whose forward in training notes the positions of the maxima."""

    length = 1

    def __init__(self, pool: Mapping[str, Any]) -> None:
        self._settings = pool

    def forward(self, x: Array, out: Array, training: bool) -> tuple[Array, ...]:
        """Pool; in training, return where the maxima were."""
        x = as_stored("max_pool2d", "x", x)
        shape = calls.check_max_pool2d(x, **self._settings)
        y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x}, like=x)
        positions = make_positions(shape) if training else None
        _cuda.max_pool2d(shape, x, y, positions, stream())
        return () if positions is None else (positions,)

    def backward(
        self, dy: Array, x: Array, saved: tuple[Array, ...], through_relu: bool, dx: Array
    ) -> None:
        """Gather the gradient of x, of which only the shape matters here."""
        operator = "max_pool2d_backward"
        dy = as_stored(operator, "dy", dy)
        how = (*self._settings.values(), through_relu)
        shape = calls.check_max_pool2d_backward(dy, x, *how)
        dx = make_output(operator, "out", dx, shape.input_shape, {"dy": dy}, like=dy)
        (positions,) = saved
        _cuda.max_pool2d_backward(shape, dy, positions, through_relu, dx, stream())


def fusion(operations: Sequence[tuple[str, Mapping[str, Any]]]) -> LRNMaxPool2d | MaxPool2d | None:
    """Find what computes the first few of `operations`; None if nothing does."""
    match operations:
        case [("lrn", lrn), ("max_pool2d", pool), *_] if _has_byte_positions(pool):
            return LRNMaxPool2d(lrn, pool)
        case [("max_pool2d", pool), *_] if _has_byte_positions(pool):
            return MaxPool2d(pool)
    return None


def _has_byte_positions(pool: Mapping[str, Any]) -> bool:
    return math.prod(check_pair("max_pool2d", "window", pool["window"])) <= MOST_POSITIONS


def move_average(average: Array, share: float, value: Array, factor: float) -> None:
    """Move a running average by a share of the way towards `factor` times a value, in place."""
    _cuda.move_average(average, share, value, factor, stream())


def lrn_max_pool2d(
    x: DeviceArray,
    *,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    window: Size2d,
    stride: Size2d,
    padding: Padding,
    ceil_mode: bool,
    out: DeviceArray | None = None,
    positions: DeviceArray | None = None,
) -> DeviceArray:
    """`max_pool2d` of `lrn` of x, without the array between the two where there is a kernel for it.

    float32 to the bit; in 16 bits what lies between is then not rounded. `positions`, uint8 of the
    result's shape, takes what the gradient needs to know; windows have at most `MOST_POSITIONS`
    pixels for that.
    """
    x = as_stored("lrn", "x", x)
    numbers = (depth_radius, bias, alpha, beta)
    channels = calls.check_lrn(x, *numbers)
    check_channels("lrn", channels)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x}, like=x)
    if positions is not None:
        _check_window("max_pool2d", shape)
        check_out(
            "max_pool2d",
            "positions",
            positions,
            y.shape,
            {"x": x, "out": y},
            dtypes=("uint8",),
            access=DEVICE,
        )
    if not _cuda.lrn_max_pool2d(shape, x, *numbers, y, positions, stream()):
        normalised = cupy.empty(x.shape, x.dtype)
        _cuda.lrn(channels, x, *numbers, normalised, stream())
        _cuda.max_pool2d(shape, normalised, y, positions, stream())
    return y


def lrn_max_pool2d_backward(
    dy: DeviceArray,
    x: DeviceArray,
    positions: DeviceArray,
    *,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    window: Size2d,
    stride: Size2d,
    padding: Padding,
    ceil_mode: bool,
    through_relu: bool = False,
    out: DeviceArray | None = None,
) -> DeviceArray:
    """`lrn_backward` of `max_pool2d_backward` of dy, likewise."""
    operator = "max_pool2d_backward"
    x = as_stored("lrn_backward", "x", x)
    dy = as_stored(operator, "dy", dy, x)
    positions = check_array(operator, "positions", positions, ("uint8",), DEVICE)
    numbers = (depth_radius, bias, alpha, beta)
    channels: ChannelsShape = calls.check_lrn(x, *numbers, operator="lrn_backward")
    check_channels("lrn_backward", channels)
    calls.check_lrn_backward_numbers("lrn_backward", bias, alpha, beta)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    _check_window(operator, shape)
    check_shape(operator, "positions", positions, shape.output_shape)
    positions = cupy.ascontiguousarray(positions)
    inputs = {"dy": dy, "x": x, "positions": positions}
    dx = make_output("lrn_backward", "out", out, x.shape, inputs, like=x)
    done = _cuda.lrn_max_pool2d_backward(
        shape, dy, x, positions, *numbers, through_relu, dx, stream()
    )
    if not done:
        between = cupy.empty(x.shape, x.dtype)
        _cuda.max_pool2d_backward(shape, dy, positions, False, between, stream())
        _cuda.lrn_backward(channels, between, x, *numbers, through_relu, dx, stream())
    return dx


def _check_window(operator: str, shape: Pool2dShape) -> None:
    """Check that a byte holds the number of each pixel of a window."""
    if shape.window_height * shape.window_width > MOST_POSITIONS:
        raise ValueError(
            f"{operator}: window is {shape.window_height}x{shape.window_width}, expected at most "
            f"{MOST_POSITIONS} pixels where positions are noted"
        )
