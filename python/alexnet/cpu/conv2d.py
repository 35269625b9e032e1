"""Convolution on the CPU; see `alexnet.reference.conv2d`."""

from __future__ import annotations

from collections.abc import Sequence

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import CONV2D_ALGORITHMS, AnyArray, Size2d
from alexnet.contract.documentation import documented_as, documented_with
from alexnet.contract.shapes import Padding
from alexnet.cpu import bfloat16
from alexnet.cpu._arrays import FloatArray, check_input, make_output, make_outputs, plain_inputs
from alexnet.recording import call_kernel


@documented_as(reference.conv2d_algorithms)
def conv2d_algorithms() -> tuple[str, ...]:
    return CONV2D_ALGORITHMS


@documented_with(reference.conv2d, bfloat16.PARAMETER)
def conv2d(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    precision: str = "float32",
    out: AnyArray | None = None,
) -> AnyArray:
    if bfloat16.is_bfloat16("conv2d", precision):
        return bfloat16.conv2d_packing(
            x,
            weight,
            bias,
            stride=stride,
            padding=padding,
            groups=groups,
            activation=activation,
            algorithm=algorithm,
            out=out,
        )
    x = check_input("conv2d", "x", x)
    weight = check_input("conv2d", "weight", weight)
    bias = None if bias is None else check_input("conv2d", "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    x, weight, bias = plain_inputs(x, weight, bias)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = make_output("conv2d", "out", out, shape.output_shape, inputs)
    call_kernel(_cpu.conv2d, shape, x, weight, bias, activation == "relu", algorithm, y)
    return y


@documented_as(reference.conv2d_backward_input)
def conv2d_backward_input(
    dy: AnyArray,
    weight: AnyArray,
    input_shape: Sequence[int],
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    out: AnyArray | None = None,
) -> FloatArray:
    operator = "conv2d_backward_input"
    dy = check_input(operator, "dy", dy)
    weight = check_input(operator, "weight", weight)
    shape = calls.check_conv2d_backward_input(
        dy, weight, input_shape, stride, padding, groups, algorithm
    )
    dy, weight = plain_inputs(dy, weight)
    dx = make_output(operator, "out", out, shape.input_shape, {"dy": dy, "weight": weight})
    call_kernel(_cpu.conv2d_backward_input, shape, dy, weight, algorithm, dx)
    return dx


@documented_as(reference.conv2d_backward_weight)
def conv2d_backward_weight(
    dy: AnyArray,
    x: AnyArray,
    kernel_size: Size2d,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    out: tuple[AnyArray | None, AnyArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    operator = "conv2d_backward_weight"
    dy = check_input(operator, "dy", dy)
    x = check_input(operator, "x", x)
    shape = calls.check_conv2d_backward_weight(
        dy, x, kernel_size, stride, padding, groups, algorithm
    )
    dy, x = plain_inputs(dy, x)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_channels,)}
    dweight, dbias = make_outputs(operator, out, shapes, {"dy": dy, "x": x})
    call_kernel(_cpu.conv2d_backward_weight, shape, dy, x, algorithm, dweight, dbias)
    return dweight, dbias
