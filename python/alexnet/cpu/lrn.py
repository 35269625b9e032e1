"""Local response normalisation on the CPU; see `alexnet.reference.lrn`."""

from __future__ import annotations

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import FloatArray, check_input, make_output, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.lrn)
def lrn(
    x: AnyArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    out: AnyArray | None = None,
) -> FloatArray:
    x = check_input("lrn", "x", x)
    shape = calls.check_lrn(x, depth_radius, bias, alpha, beta)
    (x,) = plain_inputs(x)
    y = make_output("lrn", "out", out, x.shape, {"x": x})
    call_kernel(_cpu.lrn, shape, x, depth_radius, bias, alpha, beta, y)
    return y


@documented_as(reference.lrn_backward)
def lrn_backward(
    dy: AnyArray,
    x: AnyArray,
    *,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    through_relu: bool = False,
    out: AnyArray | None = None,
) -> FloatArray:
    dy = check_input("lrn_backward", "dy", dy)
    x = check_input("lrn_backward", "x", x)
    shape = calls.check_lrn_backward(dy, x, depth_radius, bias, alpha, beta, through_relu)
    dy, x = plain_inputs(dy, x)
    dx = make_output("lrn_backward", "out", out, x.shape, {"dy": dy, "x": x})
    call_kernel(_cpu.lrn_backward, shape, dy, x, depth_radius, bias, alpha, beta, through_relu, dx)
    return dx
