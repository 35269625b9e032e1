"""Convolution on a CUDA device; see `alexnet.reference.conv2d`."""

from __future__ import annotations

from collections.abc import Sequence

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.arguments import Size2d
from alexnet.contract.shapes import Padding
from alexnet.cuda._arrays import (
    DeviceArray,
    as_input,
    as_operand,
    make_output,
    make_outputs,
    make_workspace,
    stream,
)
from alexnet.cuda._precision import documented_with_precision, is_tf32


def conv2d_algorithms() -> tuple[str, ...]:
    """Names that the `algorithm` of the convolutions takes beside "auto".

    Returns
    -------
    tuple of str
        ("direct",): an implicit matrix product, which is what "auto" stands for.
    """
    return ("direct",)


def _check_algorithm(operator: str, algorithm: str) -> None:
    if algorithm not in ("auto", *conv2d_algorithms()):
        raise ValueError(
            f"{operator}: algorithm {algorithm!r} has no CUDA kernel; use 'auto' or 'direct'"
        )


@documented_with_precision(reference.conv2d)
def conv2d(
    x: DeviceArray,
    weight: DeviceArray,
    bias: DeviceArray | None = None,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    precision: str = "float32",
    out: DeviceArray | None = None,
) -> DeviceArray:
    x = as_operand("conv2d", "x", x)
    dtype = str(x.dtype)
    weight = as_input("conv2d", "weight", weight, dtype)
    bias = None if bias is None else as_input("conv2d", "bias", bias, dtype)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    _check_algorithm("conv2d", algorithm)
    tf32 = is_tf32("conv2d", precision, dtype)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = make_output("conv2d", "out", out, shape.output_shape, inputs, dtype=dtype)
    workspace = make_workspace(_cuda.conv2d_workspace(shape))
    _cuda.conv2d(shape, x, weight, bias, activation == "relu", tf32, y, workspace, stream())
    return y


@documented_with_precision(reference.conv2d_backward_input)
def conv2d_backward_input(
    dy: DeviceArray,
    weight: DeviceArray,
    input_shape: Sequence[int],
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    precision: str = "float32",
    out: DeviceArray | None = None,
) -> DeviceArray:
    operator = "conv2d_backward_input"
    dy = as_operand(operator, "dy", dy)
    dtype = str(dy.dtype)
    weight = as_input(operator, "weight", weight, dtype)
    shape = calls.check_conv2d_backward_input(
        dy, weight, input_shape, stride, padding, groups, algorithm
    )
    _check_algorithm(operator, algorithm)
    tf32 = is_tf32(operator, precision, dtype)
    dx = make_output(
        operator, "out", out, shape.input_shape, {"dy": dy, "weight": weight}, dtype=dtype
    )
    workspace = make_workspace(_cuda.conv2d_backward_input_workspace(shape))
    _cuda.conv2d_backward_input(shape, dy, weight, tf32, dx, workspace, stream())
    return dx


@documented_with_precision(reference.conv2d_backward_weight)
def conv2d_backward_weight(
    dy: DeviceArray,
    x: DeviceArray,
    kernel_size: Size2d,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    groups: int = 1,
    algorithm: str = "auto",
    precision: str = "float32",
    out: tuple[DeviceArray | None, DeviceArray | None] | None = None,
) -> tuple[DeviceArray, DeviceArray]:
    operator = "conv2d_backward_weight"
    dy = as_operand(operator, "dy", dy)
    dtype = str(dy.dtype)
    x = as_input(operator, "x", x, dtype)
    shape = calls.check_conv2d_backward_weight(
        dy, x, kernel_size, stride, padding, groups, algorithm
    )
    _check_algorithm(operator, algorithm)
    tf32 = is_tf32(operator, precision, dtype)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_channels,)}
    dweight, dbias = make_outputs(operator, out, shapes, {"dy": dy, "x": x}, dtype)
    workspace = make_workspace(_cuda.conv2d_backward_weight_workspace(shape))
    _cuda.conv2d_backward_weight(shape, dy, x, tf32, dweight, dbias, workspace, stream())
    return dweight, dbias
