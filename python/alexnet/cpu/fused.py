"""LRN and the pooling behind it in one pass, for networks: no operators of their own.

x is (batch, height, width, channels), float32; arguments, results and errors are those of the two
operators, which the errors name. Results overlap no input.
"""

from __future__ import annotations

from alexnet import _cpu
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, Size2d, check_out, check_shape
from alexnet.contract.shapes import Padding
from alexnet.cpu._arrays import FloatArray, as_input, make_output
from alexnet.recording import run

MOST_POSITIONS = 2**24  # of a window, whose numbers float32 tells apart


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
    positions: AnyArray | None = None,
) -> FloatArray:
    """`max_pool2d` of `lrn` of x, to the bit, without the array between the two.

    `positions`, of the result's shape, takes what `lrn_max_pool2d_backward` needs to know: the
    number of each maximum's pixel in its window, of at most `MOST_POSITIONS`.
    """
    x = as_input("lrn", "x", x)
    calls.check_lrn(x, depth_radius, bias, alpha, beta)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x})
    if positions is not None:
        check_out("max_pool2d", "positions", positions, y.shape, {"x": x, "out": y})
    run(_cpu.lrn_max_pool2d, shape, x, depth_radius, bias, alpha, beta, y, positions)
    return y


def lrn_max_pool2d_backward(
    dy: AnyArray,
    x: AnyArray,
    positions: AnyArray,
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
    out: AnyArray | None = None,
) -> FloatArray:
    """`lrn_backward` of `max_pool2d_backward` of dy, to the bit, without the array between."""
    dy = as_input("max_pool2d_backward", "dy", dy)
    x = as_input("lrn_backward", "x", x)
    positions = as_input("max_pool2d_backward", "positions", positions)
    calls.check_lrn(x, depth_radius, bias, alpha, beta, operator="lrn_backward")
    calls.check_lrn_backward_numbers("lrn_backward", bias, alpha, beta)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    check_shape("max_pool2d_backward", "positions", positions, shape.output_shape)
    inputs = {"dy": dy, "x": x, "positions": positions}
    dx = make_output("lrn_backward", "out", out, x.shape, inputs)
    run(
        _cpu.lrn_max_pool2d_backward,
        shape,
        dy,
        x,
        positions,
        depth_radius,
        bias,
        alpha,
        beta,
        through_relu,
        dx,
    )
    return dx
