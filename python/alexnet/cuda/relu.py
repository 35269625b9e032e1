"""ReLU on a CUDA device; see `alexnet.reference.relu`."""

from __future__ import annotations

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import DeviceArray, as_input, make_output, stream


@documented_as(reference.relu)
def relu(x: DeviceArray, *, out: DeviceArray | None = None) -> DeviceArray:
    x = as_input("relu", "x", x)
    y = make_output("relu", "out", out, x.shape, {"x": x}, may_be="x")
    _cuda.relu(x, y, stream())
    return y


@documented_as(reference.relu_backward)
def relu_backward(
    dy: DeviceArray, y: DeviceArray, *, out: DeviceArray | None = None
) -> DeviceArray:
    dy = as_input("relu_backward", "dy", dy)
    y = as_input("relu_backward", "y", y)
    calls.check_relu_backward(dy, y)
    dx = make_output("relu_backward", "out", out, dy.shape, {"dy": dy, "y": y}, may_be="dy")
    _cuda.relu_backward(dy, y, dx, stream())
    return dx
