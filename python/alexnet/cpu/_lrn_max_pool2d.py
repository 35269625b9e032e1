"""LRN and the pooling behind it in one pass, for networks: no operator of its own."""

from __future__ import annotations

from alexnet import _cpu, calls
from alexnet.checks import AnyArray, Size2d
from alexnet.cpu._arrays import FloatArray, as_input, make_output
from alexnet.recording import run
from alexnet.shapes import Padding


def lrn_max_pool2d(
    x: AnyArray,
    *,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    window: Size2d,
    stride: Size2d,
    padding: Padding,
    ceil_mode: bool,
    out: AnyArray | None = None,
) -> FloatArray:
    """`max_pool2d` of `lrn` of x, to the bit, without the array between the two.

    x is (batch, height, width, channels), float32; the other arguments, the result and the errors
    are those of the two operators, which the errors name; `out` overlaps no input.
    """
    x = as_input("lrn", "x", x)
    calls.check_lrn(x, depth_radius, bias, alpha, beta)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x})
    run(_cpu.lrn_max_pool2d, shape, x, depth_radius, bias, alpha, beta, y)
    return y
