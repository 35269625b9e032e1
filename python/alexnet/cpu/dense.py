"""Dense layer on the CPU; see `alexnet.reference.dense`."""

from __future__ import annotations

from alexnet import _cpu, reference
from alexnet.contract import calls
from alexnet.contract.arguments import AnyArray
from alexnet.contract.documentation import documented_as, documented_with
from alexnet.cpu import bfloat16
from alexnet.cpu._arrays import FloatArray, check_input, make_output, make_outputs, plain_inputs
from alexnet.recording import call_kernel


@documented_with(reference.dense, bfloat16.PARAMETER)
def dense(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None = None,
    *,
    activation: str | None = None,
    precision: str = "float32",
    out: AnyArray | None = None,
) -> AnyArray:
    if bfloat16.is_bfloat16("dense", precision):
        return bfloat16.dense_packing(x, weight, bias, activation=activation, out=out)
    x = check_input("dense", "x", x)
    weight = check_input("dense", "weight", weight)
    bias = None if bias is None else check_input("dense", "bias", bias)
    shape = calls.check_dense(x, weight, bias, activation)
    x, weight, bias = plain_inputs(x, weight, bias)
    inputs = {"x": x, "weight": weight, "bias": bias}
    y = make_output("dense", "out", out, shape.output_shape, inputs)
    call_kernel(_cpu.dense, shape, x, weight, bias, activation == "relu", y)
    return y


@documented_as(reference.dense_backward_input)
def dense_backward_input(
    dy: AnyArray, weight: AnyArray, *, out: AnyArray | None = None
) -> FloatArray:
    operator = "dense_backward_input"
    dy = check_input(operator, "dy", dy)
    weight = check_input(operator, "weight", weight)
    shape = calls.check_dense_backward_input(dy, weight)
    dy, weight = plain_inputs(dy, weight)
    dx = make_output(operator, "out", out, shape.input_shape, {"dy": dy, "weight": weight})
    call_kernel(_cpu.dense_backward_input, shape, dy, weight, dx)
    return dx


@documented_as(reference.dense_backward_weight)
def dense_backward_weight(
    dy: AnyArray,
    x: AnyArray,
    *,
    out: tuple[AnyArray | None, AnyArray | None] | None = None,
) -> tuple[FloatArray, FloatArray]:
    operator = "dense_backward_weight"
    dy = check_input(operator, "dy", dy)
    x = check_input(operator, "x", x)
    shape = calls.check_dense_backward_weight(dy, x)
    dy, x = plain_inputs(dy, x)
    shapes = {"dweight": shape.weight_shape, "dbias": (shape.out_features,)}
    dweight, dbias = make_outputs(operator, out, shapes, {"dy": dy, "x": x})
    call_kernel(_cpu.dense_backward_weight, shape, dy, x, dweight, dbias)
    return dweight, dbias
