"""Dense layer on a CUDA device; see `alexnet.reference.dense`."""

from __future__ import annotations

from alexnet import _cuda, reference
from alexnet.contract import calls
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
    x = as_stored("dense", "x", x)
    weight = as_stored("dense", "weight", weight, x)
    bias = None if bias is None else as_input("dense", "bias", bias)
    shape = calls.check_dense(x, weight, bias, activation)
    tf32 = is_tf32("dense", precision, x.dtype.name)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = make_output("dense", "out", out, shape.output_shape, inputs, like=x)
    workspace = make_workspace(_cuda.dense_workspace(shape))
    _cuda.dense(shape, x, weight, bias, activation == "relu", tf32, y, workspace, stream())
    return y


@documented_as_input_gradient(reference.dense_backward_input)
def dense_backward_input(
    dy: DeviceArray,
    weight: DeviceArray,
    *,
    precision: str = "float32",
    relu_output: DeviceArray | None = None,
    out: DeviceArray | None = None,
) -> DeviceArray:
    operator = "dense_backward_input"
    dy = as_stored(operator, "dy", dy)
    weight = as_stored(operator, "weight", weight, dy)
    shape = calls.check_dense_backward_input(dy, weight)
    tf32 = is_tf32(operator, precision, dy.dtype.name)
    relu_output = as_relu_output(operator, relu_output, shape.input_shape, dy)
    inputs = {"dy": dy, "weight": weight, "relu_output": relu_output}
    dx = make_output(operator, "out", out, shape.input_shape, inputs, like=dy)
    workspace = make_workspace(_cuda.dense_backward_input_workspace(shape))
    _cuda.dense_backward_input(shape, dy, weight, relu_output, tf32, dx, workspace, stream())
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
    dy = as_stored(operator, "dy", dy)
    x = as_stored(operator, "x", x, dy)
    shape = calls.check_dense_backward_weight(dy, x)
    tf32 = is_tf32(operator, precision, dy.dtype.name)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_features,)}
    dweight, dbias = make_outputs(operator, out, shapes, {"dy": dy, "x": x})
    workspace = make_workspace(_cuda.dense_backward_weight_workspace(shape))
    _cuda.dense_backward_weight(shape, dy, x, tf32, dweight, dbias, workspace, stream())
    return dweight, dbias
