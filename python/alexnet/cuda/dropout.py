"""Dropout on a CUDA device; see `alexnet.reference.dropout`."""

from __future__ import annotations

import cupy

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.documentation import documented_as
from alexnet.cuda._arrays import DeviceArray, as_stored, make_output, stream


@documented_as(reference.dropout)
def dropout(
    x: DeviceArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: DeviceArray | None = None,
) -> DeviceArray:
    return _dropout("dropout", "x", x, rate, seed, offset, out)


@documented_as(reference.dropout_backward)
def dropout_backward(
    dy: DeviceArray,
    *,
    rate: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    out: DeviceArray | None = None,
) -> DeviceArray:
    return _dropout("dropout_backward", "dy", dy, rate, seed, offset, out)


def _dropout(
    operator: str,
    argument: str,
    array: object,
    rate: float,
    seed: int | DeviceArray,
    offset: int,
    out: object,
) -> DeviceArray:
    """Mask and scale `array`: what dropout does to x and its gradient to dy.

    `seed` may be an array of the device with seed and offset, as `alexnet.graphs` has it.
    """
    x = as_stored(operator, argument, array)
    later, seed = (seed, 0) if isinstance(seed, cupy.ndarray) else (None, seed)
    threshold = calls.check_dropout(operator, rate, seed, offset)
    y = make_output(operator, "out", out, x.shape, {argument: x}, may_be=argument, like=x)
    _cuda.dropout(x, seed, offset, later, threshold, 1 / (1 - float(rate)), y, stream())
    return y
