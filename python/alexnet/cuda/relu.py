"""ReLU on a CUDA device; see `alexnet.reference.relu`."""

from __future__ import annotations

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import DeviceArray, as_stored, make_output, stream


@documented_as(reference.relu)
def relu(x: DeviceArray, *, out: DeviceArray | None = None) -> DeviceArray:
    x = as_stored("relu", "x", x)
    y = make_output("relu", "out", out, x.shape, {"x": x}, may_be="x", like=x)
    _cuda.relu(x, y, stream())
    return y


@documented_as(reference.relu_backward)
def relu_backward(
    dy: DeviceArray, y: DeviceArray, *, out: DeviceArray | None = None
) -> DeviceArray:
    dy = as_stored("relu_backward", "dy", dy)
    y = as_stored("relu_backward", "y", y, dy)
    calls.check_relu_backward(dy, y)
    inputs = {"dy": dy, "y": y}
    dx = make_output("relu_backward", "out", out, dy.shape, inputs, may_be="dy", like=dy)
    _cuda.relu_backward(dy, y, dx, stream())
    return dx
