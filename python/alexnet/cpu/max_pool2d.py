"""Max-pooling on the CPU; see `alexnet.reference.max_pool2d`."""

from __future__ import annotations

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, Size2d
from alexnet.contract.documentation import documented_as
from alexnet.contract.shapes import Padding
from alexnet.cpu._arrays import FloatArray, check_input, make_output, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.max_pool2d)
def max_pool2d(
    x: AnyArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    out: AnyArray | None = None,
) -> FloatArray:
    x = check_input("max_pool2d", "x", x)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    (x,) = plain_inputs(x)
    y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x})
    call_kernel(_cpu.max_pool2d, shape, x, y)
    return y


@documented_as(reference.max_pool2d_backward)
def max_pool2d_backward(
    dy: AnyArray,
    x: AnyArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    through_relu: bool = False,
    out: AnyArray | None = None,
) -> FloatArray:
    operator = "max_pool2d_backward"
    dy = check_input(operator, "dy", dy)
    x = check_input(operator, "x", x)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    dy, x = plain_inputs(dy, x)
    dx = make_output(operator, "out", out, shape.input_shape, {"dy": dy, "x": x})
    call_kernel(_cpu.max_pool2d_backward, shape, dy, x, through_relu, dx)
    return dx
