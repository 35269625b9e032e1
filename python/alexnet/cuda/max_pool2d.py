"""Max-pooling on a CUDA device; see `alexnet.reference.max_pool2d`."""

from __future__ import annotations

import cupy

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.arguments import Size2d
from alexnet.contract.documentation import documented_as
from alexnet.contract.shapes import Padding, Pool2dShape
from alexnet.cuda._arrays import DeviceArray, as_stored, make_output, stream


@documented_as(reference.max_pool2d)
def max_pool2d(
    x: DeviceArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    out: DeviceArray | None = None,
) -> DeviceArray:
    x = as_stored("max_pool2d", "x", x)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x}, like=x)
    _cuda.max_pool2d(shape, x, y, None, stream())
    return y


@documented_as(reference.max_pool2d_backward)
def max_pool2d_backward(
    dy: DeviceArray,
    x: DeviceArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    through_relu: bool = False,
    out: DeviceArray | None = None,
) -> DeviceArray:
    operator = "max_pool2d_backward"
    x = as_stored(operator, "x", x)
    dy = as_stored(operator, "dy", dy, x)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    dx = make_output(operator, "out", out, shape.input_shape, {"dy": dy, "x": x}, like=x)
    positions = make_positions(shape)
    _cuda.max_pool2d(shape, x, None, positions, stream())
    _cuda.max_pool2d_backward(shape, dy, positions, through_relu, dx, stream())
    return dx


def make_positions(shape: Pool2dShape) -> DeviceArray:
    """Memory for the positions of maxima, one for each element of the result."""
    return cupy.empty(shape.output_shape, cupy.dtype(_cuda.max_pool2d_positions_dtype(shape)))
