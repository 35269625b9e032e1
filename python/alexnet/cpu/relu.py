"""ReLU on the CPU; see `alexnet.reference.relu`."""

from __future__ import annotations

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import FloatArray, as_input, check_input, make_output, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.relu)
def relu(x: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    x = as_input("relu", "x", x)
    y = make_output("relu", "out", out, x.shape, {"x": x}, may_be="x")
    call_kernel(_cpu.relu, x, y)
    return y


@documented_as(reference.relu_backward)
def relu_backward(dy: AnyArray, y: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    dy = check_input("relu_backward", "dy", dy)
    y = check_input("relu_backward", "y", y)
    calls.check_relu_backward(dy, y)
    dy, y = plain_inputs(dy, y)
    dx = make_output("relu_backward", "out", out, dy.shape, {"dy": dy, "y": y}, may_be="dy")
    call_kernel(_cpu.relu_backward, dy, y, dx)
    return dx
