"""What the CPU computes in one pass over memory where the operators would take several.

A network asks for it under this name: `fusion` says which layers it may take together. Another
implementation may offer such a module of its own (see `alexnet.network.plan`); one that offers none
has `alexnet.network.unfused`.

Here it is LRN with the pooling behind it: an LRN's output is as large as its input, and pooling
reads it once; together, it need not go through memory, nor its gradient. In `lrn_max_pool2d` and
its gradient x is (batch, height, width, channels), float32; arguments, results and errors are those
of the two operators, which the errors name. Results overlap no input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet import _cpu
from alexnet.arrays import Array, aligned_empty
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray, Size2d, check_out, check_pair, check_shape
from alexnet.contract.shapes import Padding
from alexnet.cpu._arrays import FloatArray, check_input, make_output, plain_inputs
from alexnet.recording import call_kernel

CALLS_ARE_RECORDED = True  # every kernel is called by `alexnet.recording.call_kernel`
PRODUCTS_PASS_RELU = False  # whether products' input gradients take `relu_output`
MOST_POSITIONS = 2**24  # of a window, whose numbers float32 tells apart


class LRNMaxPool2d:
    """An LRN and the pooling behind it, of the settings that their operators take by keyword."""

    length = 2  # layers

    def __init__(self, lrn: Mapping[str, Any], pool: Mapping[str, Any]) -> None:
        self._settings = {**lrn, **pool}

    def forward(self, x: Array, out: Array, training: bool) -> tuple[Array, ...]:
        """Normalise and pool; in training, return where the maxima were, for `backward`."""
        positions = aligned_empty(out.shape) if training else None
        lrn_max_pool2d(x, **self._settings, out=out, positions=positions)
        return () if positions is None else (positions,)

    def backward(
        self, dy: Array, x: Array, saved: tuple[Array, ...], through_relu: bool, dx: Array
    ) -> None:
        """Take the pooled gradient to that of the LRN's input, after a forward in training."""
        lrn_max_pool2d_backward(dy, x, *saved, **self._settings, through_relu=through_relu, out=dx)


def fusion(operations: Sequence[tuple[str, Mapping[str, Any]]]) -> LRNMaxPool2d | None:
    """Find what computes the first few of `operations` in one pass; None if nothing does.

    Each of them is the name of an operator and its settings, and works on the result of the one
    before.
    """
    match operations:
        case [("lrn", lrn), ("max_pool2d", pool), *_]:
            if math.prod(check_pair("max_pool2d", "window", pool["window"])) <= MOST_POSITIONS:
                return LRNMaxPool2d(lrn, pool)
    return None


def move_average(average: AnyArray, share: float, value: AnyArray, factor: float) -> None:
    """Move a running average by a share of the way towards `factor` times a value, in place."""
    call_kernel(_cpu.move_average, average, share, value, factor)


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
    x = check_input("lrn", "x", x)
    calls.check_lrn(x, depth_radius, bias, alpha, beta)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    (x,) = plain_inputs(x)
    y = make_output("max_pool2d", "out", out, shape.output_shape, {"x": x})
    if positions is not None:
        check_out("max_pool2d", "positions", positions, y.shape, {"x": x, "out": y})
    call_kernel(_cpu.lrn_max_pool2d, shape, x, depth_radius, bias, alpha, beta, y, positions)
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
    dy = check_input("max_pool2d_backward", "dy", dy)
    x = check_input("lrn_backward", "x", x)
    positions = check_input("max_pool2d_backward", "positions", positions)
    calls.check_lrn(x, depth_radius, bias, alpha, beta, operator="lrn_backward")
    calls.check_lrn_backward_numbers("lrn_backward", bias, alpha, beta)
    shape = calls.check_max_pool2d_backward(dy, x, window, stride, padding, ceil_mode, through_relu)
    check_shape("max_pool2d_backward", "positions", positions, shape.output_shape)
    dy, x, positions = plain_inputs(dy, x, positions)
    inputs = {"dy": dy, "x": x, "positions": positions}
    dx = make_output("lrn_backward", "out", out, x.shape, inputs)
    call_kernel(
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
