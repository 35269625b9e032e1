"""L2 loss on the CPU; see `alexnet.reference.l2_loss`."""

from __future__ import annotations

from alexnet import _cpu, reference
from alexnet.contract.arguments import AnyArray
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import FloatArray, as_input, make_output
from alexnet.recording import call_kernel


@documented_as(reference.l2_loss)
def l2_loss(x: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    x = as_input("l2_loss", "x", x)
    loss = make_output("l2_loss", "out", out, (), {"x": x})
    call_kernel(_cpu.l2_loss, x, loss)
    return loss


@documented_as(reference.l2_loss_backward)
def l2_loss_backward(x: AnyArray, *, out: AnyArray | None = None) -> FloatArray:
    x = as_input("l2_loss_backward", "x", x)
    dx = make_output("l2_loss_backward", "out", out, x.shape, {"x": x})
    call_kernel(_cpu.l2_loss_backward, x, dx)
    return dx
