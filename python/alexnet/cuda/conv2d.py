"""Convolution on a CUDA device; see `alexnet.reference.conv2d`."""

from __future__ import annotations

from collections.abc import Sequence

from alexnet import _cuda, reference
from alexnet.contract import calls
from alexnet.contract.arguments import Size2d
from alexnet.contract.shapes import Conv2dShape, Padding
from alexnet.cuda._arrays import (
    DeviceArray,
    as_input,
    as_relu_output,
    as_stored,
    make_output,
    make_outputs,
    make_workspace,
    stream,
)
from alexnet.cuda._precision import (
    documented_as_input_gradient,
    documented_with_precision,
    is_tf32,
)

# Floats of transformed tiles that a call by Winograd's algorithm has in memory at once; of more
# images it computes some after others.
WINOGRAD_FLOATS = 1 << 26


def conv2d_algorithms() -> tuple[str, ...]:
    """Names that the `algorithm` of the convolutions takes beside "auto".

    Returns
    -------
    tuple of str
        ("direct", "winograd"): an implicit matrix product, and fewer products for more additions.
        "winograd" serves kernels of 3 x 3 and 5 x 5 with stride 1 in precision "float32", where
        "auto" stands for it if a count of operations promises it to be faster
        (cpp/cuda/winograd_plan.cu); else "auto" is "direct".
    """
    return ("direct", "winograd")


def conv2d_choice(shape: Conv2dShape, direction: str) -> str:
    """Name what "auto" stands for in float32.

    `direction` is "forward", "backward_input" or "backward_weight".
    """
    return "winograd" if _cuda.winograd_is_faster(shape, direction) else "direct"


def _is_winograd(
    operator: str, direction: str, shape: Conv2dShape, algorithm: str, dtype: str, *, tf32: bool
) -> bool:
    """Check that the algorithm has a kernel and serves the shape; whether it is Winograd's."""
    if algorithm not in ("auto", *conv2d_algorithms()):
        raise ValueError(
            f"{operator}: algorithm {algorithm!r} has no CUDA kernel; use 'auto', 'direct' or "
            "'winograd'"
        )
    if algorithm == "auto":
        exact = dtype == "float32" and not tf32
        return exact and conv2d_choice(shape, direction) == "winograd"
    if algorithm == "direct":
        return False
    reason = _cuda.winograd_unsupported(shape, direction)
    if tf32:
        reason = "its precision is 'tf32'"
    if dtype != "float32":
        reason = f"its arrays are {dtype}"
    if reason:
        raise ValueError(
            f"{operator}: algorithm 'winograd' cannot serve this convolution: {reason}; "
            "use 'auto' or 'direct'"
        )
    return True


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
    x = as_stored("conv2d", "x", x)
    weight = as_stored("conv2d", "weight", weight, x)
    bias = None if bias is None else as_input("conv2d", "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    dtype = x.dtype.name
    tf32 = is_tf32("conv2d", precision, dtype)
    winograd = _is_winograd("conv2d", "forward", shape, algorithm, dtype, tf32=tf32)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = make_output("conv2d", "out", out, shape.output_shape, inputs, like=x)
    relu = activation == "relu"
    if winograd:
        workspace = make_workspace(_cuda.conv2d_winograd_workspace(shape, WINOGRAD_FLOATS))
        _cuda.conv2d_winograd(shape, WINOGRAD_FLOATS, x, weight, bias, relu, y, workspace, stream())
    else:
        workspace = make_workspace(_cuda.conv2d_workspace(shape))
        _cuda.conv2d(shape, x, weight, bias, relu, tf32, y, workspace, stream())
    return y


@documented_as_input_gradient(reference.conv2d_backward_input)
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
    relu_output: DeviceArray | None = None,
    out: DeviceArray | None = None,
) -> DeviceArray:
    operator = "conv2d_backward_input"
    dy = as_stored(operator, "dy", dy)
    weight = as_stored(operator, "weight", weight, dy)
    shape = calls.check_conv2d_backward_input(
        dy, weight, input_shape, stride, padding, groups, algorithm
    )
    dtype = dy.dtype.name
    tf32 = is_tf32(operator, precision, dtype)
    winograd = _is_winograd(operator, "backward_input", shape, algorithm, dtype, tf32=tf32)
    relu_output = as_relu_output(operator, relu_output, shape.input_shape, dy)
    inputs = {"dy": dy, "weight": weight, "relu_output": relu_output}
    dx = make_output(operator, "out", out, shape.input_shape, inputs, like=dy)
    if winograd:
        workspace = make_workspace(
            _cuda.conv2d_winograd_backward_input_workspace(shape, WINOGRAD_FLOATS)
        )
        _cuda.conv2d_winograd_backward_input(
            shape, WINOGRAD_FLOATS, dy, weight, relu_output, dx, workspace, stream()
        )
    else:
        workspace = make_workspace(_cuda.conv2d_backward_input_workspace(shape))
        _cuda.conv2d_backward_input(shape, dy, weight, relu_output, tf32, dx, workspace, stream())
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
    dy = as_stored(operator, "dy", dy)
    x = as_stored(operator, "x", x, dy)
    shape = calls.check_conv2d_backward_weight(
        dy, x, kernel_size, stride, padding, groups, algorithm
    )
    dtype = dy.dtype.name
    tf32 = is_tf32(operator, precision, dtype)
    winograd = _is_winograd(operator, "backward_weight", shape, algorithm, dtype, tf32=tf32)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_channels,)}
    dweight, dbias = make_outputs(operator, out, shapes, {"dy": dy, "x": x})
    if winograd:
        workspace = make_workspace(
            _cuda.conv2d_winograd_backward_weight_workspace(shape, WINOGRAD_FLOATS)
        )
        _cuda.conv2d_winograd_backward_weight(
            shape, WINOGRAD_FLOATS, dy, x, dweight, dbias, workspace, stream()
        )
    else:
        workspace = make_workspace(_cuda.conv2d_backward_weight_workspace(shape))
        _cuda.conv2d_backward_weight(shape, dy, x, tf32, dweight, dbias, workspace, stream())
    return dweight, dbias
