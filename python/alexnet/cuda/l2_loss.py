"""L2 loss on a CUDA device; see `alexnet.reference.l2_loss`."""

from __future__ import annotations

from alexnet import _cuda, reference
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import DeviceArray, as_input, make_output, make_workspace, stream


@documented_as(reference.l2_loss)
def l2_loss(x: DeviceArray, *, out: DeviceArray | None = None) -> DeviceArray:
    x = as_input("l2_loss", "x", x)
    loss = make_output("l2_loss", "out", out, (), {"x": x})
    _cuda.l2_loss(x, loss, make_workspace(_cuda.l2_loss_workspace(x.size)), stream())
    return loss


@documented_as(reference.l2_loss_backward)
def l2_loss_backward(x: DeviceArray, *, out: DeviceArray | None = None) -> DeviceArray:
    x = as_input("l2_loss_backward", "x", x)
    dx = make_output("l2_loss_backward", "out", out, x.shape, {"x": x})
    _cuda.l2_loss_backward(x, dx, stream())
    return dx
