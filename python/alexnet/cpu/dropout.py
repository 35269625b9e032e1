"""Dropout on the CPU; see `alexnet.reference.dropout`."""

from __future__ import annotations

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray
from alexnet.contract.documentation import documented_as
from alexnet.cpu._arrays import FloatArray, check_input, make_output, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.dropout)
def dropout(
    x: AnyArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: AnyArray | None = None,
) -> FloatArray:
    return _dropout("dropout", "x", x, rate, seed, offset, out)


@documented_as(reference.dropout_backward)
def dropout_backward(
    dy: AnyArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: AnyArray | None = None,
) -> FloatArray:
    return _dropout("dropout_backward", "dy", dy, rate, seed, offset, out)


def _dropout(
    operator: str, argument: str, array: object, rate: float, seed: int, offset: int, out: object
) -> FloatArray:
    """Mask and scale `array`: what dropout does to x and its gradient to dy."""
    x = check_input(operator, argument, array)
    threshold = calls.check_dropout(operator, rate, seed, offset)
    (x,) = plain_inputs(x)
    y = make_output(operator, "out", out, x.shape, {argument: x}, may_be=argument)
    call_kernel(_cpu.dropout, x, seed, offset, threshold, 1 / (1 - float(rate)), y)
    return y
