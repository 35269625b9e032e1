"""Convolution and dense layers on bfloat16 operands, with weights that are packed once.

What `conv2d` and `dense` of `alexnet.cpu` do for ``precision="bfloat16"``, for callers that hold
their weights: packing them takes longer than a small batch does. Operands are float32, rounded to
the nearest bfloat16 (ties to even, a NaN stays one), or arrays of `ml_dtypes.bfloat16`, which are
known by the name of their dtype, so that nothing here needs the package. Products are exact, sums,
bias and activation are float32. `alexnet.cpu_bfloat16` names the instructions that compute them.
Convolutions are faster than in float32 where it is "amx", dense layers everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet import _cpu
from alexnet.arrays import aligned_empty, lasting_zeros
from alexnet.contract import calls
from alexnet.contract.arguments import (
    LARGEST_SIZE,
    NUMPY,
    AnyArray,
    Shape,
    Size2d,
    as_plain,
    check_choice,
    check_int,
    check_ndim,
    check_out,
)
from alexnet.contract.shapes import DenseShape, Padding, check_groups, conv2d_shape, pool2d_shape
from alexnet.cpu._arrays import check_input, plain_inputs
from alexnet.messages import shown
from alexnet.recording import call_kernel

PRECISIONS = ("float32", "bfloat16")

PARAMETER = """\
    precision : "float32" or "bfloat16"
        "float32": fused multiply-adds, exact but for the last rounding of each. "bfloat16": x and
        weight, each float32 or `ml_dtypes.bfloat16`, are rounded to 8 bits of mantissa; products,
        sums, bias and activation are float32, for a relative L2 error of 2e-3, and the result
        is of the dtype of x, or of `out`. Weights are packed at every call; callers that hold them
        have `alexnet.cpu.bfloat16`.
"""


@dataclass(frozen=True)
class PackedWeights:
    """Weights as the kernels read them: rounded, in panels. They follow no later change.

    Attributes
    ----------
    shape : tuple of int
        That of the weights: (kernel_height, kernel_width, in_channels / groups, out_channels), or
        (in_features, out_features).
    groups : int
        Of the convolution.
    array : array of uint16
        The packed bits, the same for every instruction set; read-only.
    """

    shape: Shape
    groups: int
    array: npt.NDArray[np.uint16]

    @property
    def nbytes(self) -> int:
        """Bytes of memory: half of float32's, and what fills up blocks of 32 by 32."""
        return self.array.nbytes


def is_bfloat16(operator: str, precision: object) -> bool:
    """Check `precision`; whether it is "bfloat16"."""
    check_choice(operator, "precision", precision, PRECISIONS)
    return precision == "bfloat16"


def pack_conv2d(weight: AnyArray, groups: int = 1) -> PackedWeights:
    """Pack the weights of a convolution.

    Parameters
    ----------
    weight : array of shape (kernel_height, kernel_width, in_channels / groups, out_channels)
        float32 or bfloat16.
    groups : int
        Groups of channels, as in `alexnet.conv2d`.

    Raises
    ------
    TypeError, ValueError
        The weights are no such array.
    """
    operator = "pack_conv2d"
    weight = _check_operand(operator, "weight", weight)
    axes = ("kernel_height", "kernel_width", "in_channels / groups", "out_channels")
    check_ndim(operator, "weight", weight.shape, axes)
    height, width, channels, features = weight.shape
    groups = check_int(operator, "groups", groups, 1, LARGEST_SIZE)
    check_groups(operator, groups, channels * groups, features, "x")
    # Of the images only the channels matter.
    shape = conv2d_shape(
        operator, (0, height, width, channels * groups), weight.shape, 1, "valid", groups
    )
    packed = lasting_zeros((_cpu.packed_conv2d_bf16_size(shape),), np.dtype(np.uint16))
    call_kernel(_cpu.pack_conv2d_bf16, shape, _plain_bits(weight), packed)
    return _sealed(weight, groups, packed)


def pack_dense(weight: AnyArray) -> PackedWeights:
    """Pack the weights of a dense layer.

    Parameters
    ----------
    weight : array of shape (in_features, out_features)
        float32 or bfloat16.

    Raises
    ------
    TypeError, ValueError
        The weights are no such array.
    """
    operator = "pack_dense"
    weight = _check_operand(operator, "weight", weight)
    check_ndim(operator, "weight", weight.shape, ("in_features", "out_features"))
    shape = DenseShape(0, *weight.shape)
    packed = lasting_zeros((_cpu.packed_dense_bf16_size(shape),), np.dtype(np.uint16))
    call_kernel(_cpu.pack_dense_bf16, shape, _plain_bits(weight), packed)
    return _sealed(weight, 1, packed)


def conv2d(
    x: AnyArray,
    weight: PackedWeights,
    bias: AnyArray | None = None,
    *,
    stride: Size2d = 1,
    padding: Padding = "same",
    activation: str | None = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Compute `alexnet.conv2d` with weights that are packed.

    Parameters
    ----------
    x : array of shape (batch, height, width, in_channels)
        float32 or bfloat16.
    weight : PackedWeights
        Of `pack_conv2d`, which knows the groups.
    bias : array of shape (out_channels,), optional
        float32.
    stride, padding, activation
        As in `alexnet.conv2d`.
    out : array of shape (batch, out_height, out_width, out_channels), optional
        Where the result goes; float32 or bfloat16.

    Returns
    -------
    array
        `out`, or a new array of the dtype of x.
    """
    operator = "conv2d"
    x = _check_operand(operator, "x", x)
    _check_packed(operator, weight)
    bias = None if bias is None else check_input(operator, "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, weight.groups, activation, "auto")
    y = _make_output(operator, out, shape.output_shape, x, {"x": x, "bias": bias})
    relu = activation == "relu"
    (bias,) = plain_inputs(bias)
    call_kernel(_cpu.conv2d_bf16, shape, _plain_bits(x), weight.array, bias, relu, _bits(y))
    return y


def dense(
    x: AnyArray,
    weight: PackedWeights,
    bias: AnyArray | None = None,
    *,
    activation: str | None = None,
    out: AnyArray | None = None,
) -> AnyArray:
    """Compute `alexnet.dense` with weights that are packed.

    Parameters
    ----------
    x : array of shape (batch, in_features)
        float32 or bfloat16.
    weight : PackedWeights
        Of `pack_dense`.
    bias : array of shape (out_features,), optional
        float32.
    activation
        As in `alexnet.dense`.
    out : array of shape (batch, out_features), optional
        Where the result goes; float32 or bfloat16.

    Returns
    -------
    array
        `out`, or a new array of the dtype of x.
    """
    operator = "dense"
    x = _check_operand(operator, "x", x)
    _check_packed(operator, weight)
    bias = None if bias is None else check_input(operator, "bias", bias)
    shape = calls.check_dense(x, weight, bias, activation)
    y = _make_output(operator, out, shape.output_shape, x, {"x": x, "bias": bias})
    relu = activation == "relu"
    (bias,) = plain_inputs(bias)
    call_kernel(_cpu.dense_bf16, shape, _plain_bits(x), weight.array, bias, relu, _bits(y))
    return y


def max_pool2d(
    x: AnyArray,
    *,
    window: Size2d = 3,
    stride: Size2d = 2,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    out: AnyArray | None = None,
) -> AnyArray:
    """Compute `alexnet.max_pool2d` of bfloat16, to the bit what rounding its result would give.

    Parameters
    ----------
    x : array of shape (batch, height, width, channels)
        bfloat16.
    window, stride, padding, ceil_mode
        As in `alexnet.max_pool2d`.
    out : array of shape (batch, out_height, out_width, channels), optional
        Where the result goes; bfloat16.

    Returns
    -------
    array
        `out`, or a new array.
    """
    operator = "max_pool2d"
    if not _is_bf16(x):
        raise TypeError(f"{operator}: x is {shown(x)}, expected an array of bfloat16")
    x = _check_operand(operator, "x", x)
    shape = calls.check_max_pool2d(x, window, stride, padding, ceil_mode)
    if out is None:
        y = aligned_empty(shape.output_shape, x.dtype)
    else:
        y = check_out(operator, "out", out, shape.output_shape, {"x": x}, dtypes=("bfloat16",))
    call_kernel(_cpu.max_pool2d_bf16, shape, _plain_bits(x), _bits(y))
    return y


def conv2d_max_pool2d(
    x: AnyArray,
    weight: PackedWeights,
    bias: AnyArray | None,
    *,
    stride: Size2d,
    padding: Padding,
    activation: str | None,
    pool: Mapping[str, Any],
    out: AnyArray,
) -> AnyArray:
    """Compute `max_pool2d` of `conv2d` of x, to the bit, without the array between the two.

    `pool` has the keyword arguments of `max_pool2d`; `out` is bfloat16. The rest is as in `conv2d`.
    """
    x = _check_operand("conv2d", "x", x)
    _check_packed("conv2d", weight)
    bias = None if bias is None else check_input("conv2d", "bias", bias)
    shape = calls.check_conv2d(x, weight, bias, stride, padding, weight.groups, activation, "auto")
    pool_shape = pool2d_shape("max_pool2d", shape.output_shape, **pool)
    inputs = {"x": x, "bias": bias}
    y = check_out("max_pool2d", "out", out, pool_shape.output_shape, inputs, dtypes=("bfloat16",))
    (bias,) = plain_inputs(bias)
    call_kernel(
        _cpu.conv2d_max_pool2d_bf16,
        shape,
        pool_shape,
        _plain_bits(x),
        weight.array,
        bias,
        activation == "relu",
        _bits(y),
    )
    return y


def conv2d_packing(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    *,
    stride: Size2d,
    padding: Padding,
    groups: int,
    activation: str | None,
    algorithm: str,
    out: AnyArray | None,
) -> AnyArray:
    """Compute `alexnet.cpu.conv2d` in bfloat16, from the weights as they are."""
    operator = "conv2d"
    x, weight = _check_operand(operator, "x", x), _check_operand(operator, "weight", weight)
    calls.check_conv2d(x, weight, bias, stride, padding, groups, activation, algorithm)
    if algorithm != "auto":
        raise ValueError(
            f"{operator}: algorithm is {shown(algorithm)}, expected 'auto' where precision is "
            "'bfloat16'"
        )
    return conv2d(
        x,
        pack_conv2d(weight, groups),
        bias,
        stride=stride,
        padding=padding,
        activation=activation,
        out=out,
    )


def dense_packing(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    *,
    activation: str | None,
    out: AnyArray | None,
) -> AnyArray:
    """Compute `alexnet.cpu.dense` in bfloat16, from the weights as they are."""
    x, weight = _check_operand("dense", "x", x), _check_operand("dense", "weight", weight)
    calls.check_dense(x, weight, bias, activation)
    return dense(x, pack_dense(weight), bias, activation=activation, out=out)


def _is_bf16(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.name == "bfloat16"


def _check_operand(operator: str, argument: str, array: object) -> AnyArray:
    """`array` if it is float32 or bfloat16, of whatever shape and layout."""
    if not _is_bf16(array):
        return check_input(operator, argument, array)
    return NUMPY.check_type(operator, argument, array, "float32 or bfloat16")


def _plain_bits(array: AnyArray) -> AnyArray:
    """`_bits` of an input, C-contiguous, once all of a call is checked."""
    return _bits(as_plain(array, array.dtype))


def _check_packed(operator: str, weight: object) -> None:
    if not isinstance(weight, PackedWeights):
        raise TypeError(
            f"{operator}: weight is {shown(weight)}, expected PackedWeights: pack_{operator} of "
            "alexnet.cpu.bfloat16 makes them"
        )


def _bits(array: AnyArray) -> AnyArray:
    """`array` as the kernels take it: bfloat16 as its bits."""
    return array.view(np.uint16) if _is_bf16(array) else array


def _sealed(weight: AnyArray, groups: int, packed: npt.NDArray[np.uint16]) -> PackedWeights:
    packed.flags.writeable = False
    return PackedWeights(tuple(weight.shape), groups, packed)


def _make_output(
    operator: str, out: object, shape: Shape, x: AnyArray, inputs: dict[str, AnyArray | None]
) -> AnyArray:
    """`out` where it is given and fits, else a new array of the dtype of x."""
    if out is None:
        return aligned_empty(shape, x.dtype)
    dtypes = ("bfloat16",) if _is_bf16(out) else ("float32",)
    return check_out(operator, "out", out, shape, inputs, dtypes=dtypes)
