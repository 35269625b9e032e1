"""Dense layer on a CUDA device; see `alexnet.reference.dense`."""

from __future__ import annotations

from alexnet import _cuda, reference
from alexnet.contract import calls
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


@documented_with_precision(reference.dense)
def dense(
    x: DeviceArray,
    weight: DeviceArray,
    bias: DeviceArray | None = None,
    *,
    activation: str | None = None,
    precision: str = "float32",
    out: DeviceArray | None = None,
) -> DeviceArray:
    x = as_operand("dense", "x", x)
    dtype = str(x.dtype)
    weight = as_input("dense", "weight", weight, dtype)
    bias = None if bias is None else as_input("dense", "bias", bias, dtype)
    shape = calls.check_dense(x, weight, bias, activation)
    tf32 = is_tf32("dense", precision, dtype)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = make_output("dense", "out", out, shape.output_shape, inputs, dtype=dtype)
    workspace = make_workspace(_cuda.dense_workspace(shape))
    _cuda.dense(shape, x, weight, bias, activation == "relu", tf32, y, workspace, stream())
    return y


@documented_with_precision(reference.dense_backward_input)
def dense_backward_input(
    dy: DeviceArray,
    weight: DeviceArray,
    *,
    precision: str = "float32",
    out: DeviceArray | None = None,
) -> DeviceArray:
    operator = "dense_backward_input"
    dy = as_operand(operator, "dy", dy)
    dtype = str(dy.dtype)
    weight = as_input(operator, "weight", weight, dtype)
    shape = calls.check_dense_backward_input(dy, weight)
    tf32 = is_tf32(operator, precision, dtype)
    dx = make_output(
        operator, "out", out, shape.input_shape, {"dy": dy, "weight": weight}, dtype=dtype
    )
    workspace = make_workspace(_cuda.dense_backward_input_workspace(shape))
    _cuda.dense_backward_input(shape, dy, weight, tf32, dx, workspace, stream())
    return dx


@documented_with_precision(reference.dense_backward_weight)
def dense_backward_weight(
    dy: DeviceArray,
    x: DeviceArray,
    *,
    precision: str = "float32",
    out: tuple[DeviceArray | None, DeviceArray | None] | None = None,
) -> tuple[DeviceArray, DeviceArray]:
    operator = "dense_backward_weight"
    dy = as_operand(operator, "dy", dy)
    dtype = str(dy.dtype)
    x = as_input(operator, "x", x, dtype)
    shape = calls.check_dense_backward_weight(dy, x)
    tf32 = is_tf32(operator, precision, dtype)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_features,)}
    dweight, dbias = make_outputs(operator, out, shapes, {"dy": dy, "x": x}, dtype)
    workspace = make_workspace(_cuda.dense_backward_weight_workspace(shape))
    _cuda.dense_backward_weight(shape, dy, x, tf32, dweight, dbias, workspace, stream())
    return dweight, dbias
