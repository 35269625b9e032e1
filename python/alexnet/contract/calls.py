"""Checks of whole calls: one function an operator, shared by every implementation.

Each takes the arguments of its operator in the operator's order, without ``out``, and returns what
the call needs to know about its shapes. Arrays are judged by their shape alone; their kind, dtype
and memory are for `arguments.py`, before these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from alexnet.contract import hints
from alexnet.contract.arguments import (
    LARGEST_SIZE,
    HasShape,
    Shape,
    Size2d,
    check_activation,
    check_algorithm,
    check_extent_tuple,
    check_flag,
    check_int,
    check_ndim,
    check_number,
    check_pair,
    check_shape,
)
from alexnet.contract.shapes import (
    IMAGE_AXES,
    ChannelsShape,
    Conv2dShape,
    DenseShape,
    Padding,
    Pool2dShape,
    channels_shape,
    check_groups,
    conv2d_shape,
    dense_shape,
    pool2d_shape,
)


def check_conv2d(
    x: HasShape,
    weight: HasShape,
    bias: HasShape | None,
    stride: Size2d,
    padding: Padding,
    groups: int,
    activation: str | None,
    algorithm: str,
) -> Conv2dShape:
    """Check a call of `conv2d`."""
    shape = conv2d_shape("conv2d", x.shape, weight.shape, stride, padding, groups)
    if bias is not None:
        check_shape("conv2d", "bias", bias, (shape.out_channels,))
    check_activation("conv2d", activation)
    check_algorithm("conv2d", algorithm)
    return shape


def check_conv2d_backward_input(
    dy: HasShape,
    weight: HasShape,
    input_shape: Sequence[int],
    stride: Size2d,
    padding: Padding,
    groups: int,
    algorithm: str,
) -> Conv2dShape:
    """Check a call of `conv2d_backward_input`."""
    operator = "conv2d_backward_input"
    input_shape = check_extent_tuple(operator, "input_shape", input_shape)
    shape = conv2d_shape(
        operator, input_shape, weight.shape, stride, padding, groups, input_name="input_shape"
    )
    check_shape(operator, "dy", dy, shape.output_shape)
    check_algorithm(operator, algorithm)
    return shape


def check_conv2d_backward_weight(
    dy: HasShape,
    x: HasShape,
    kernel_size: Size2d,
    stride: Size2d,
    padding: Padding,
    groups: int,
    algorithm: str,
) -> Conv2dShape:
    """Check a call of `conv2d_backward_weight`."""
    operator = "conv2d_backward_weight"
    check_ndim(operator, "dy", dy.shape, IMAGE_AXES)
    check_ndim(operator, "x", x.shape, IMAGE_AXES)
    kernel = check_pair(operator, "kernel_size", kernel_size)
    count = check_groups(operator, groups, x.shape[3], dy.shape[3], "x")
    weight_shape = (*kernel, x.shape[3] // count, dy.shape[3])
    shape = conv2d_shape(
        operator, x.shape, weight_shape, stride, padding, groups, weight_name="kernel_size"
    )
    expected = shape.output_shape
    if tuple(dy.shape) != expected and (dy.shape[0], *dy.shape[2:]) == expected[:3]:
        expected = (*expected[:3], dy.shape[1])  # dy is NCHW: its channels are not its last axis
    check_shape(operator, "dy", dy, expected)
    check_algorithm(operator, algorithm)
    return shape


def check_max_pool2d(
    x: HasShape, window: Size2d, stride: Size2d, padding: Padding, ceil_mode: bool
) -> Pool2dShape:
    """Check a call of `max_pool2d`."""
    return pool2d_shape("max_pool2d", x.shape, window, stride, padding, ceil_mode)


def check_max_pool2d_backward(
    dy: HasShape,
    x: HasShape,
    window: Size2d,
    stride: Size2d,
    padding: Padding,
    ceil_mode: bool,
    through_relu: bool,
) -> Pool2dShape:
    """Check a call of `max_pool2d_backward`."""
    operator = "max_pool2d_backward"
    shape = pool2d_shape(operator, x.shape, window, stride, padding, ceil_mode)
    check_flag(operator, "through_relu", through_relu)
    check_shape(operator, "dy", dy, shape.output_shape)
    return shape


def check_dense(
    x: HasShape, weight: HasShape, bias: HasShape | None, activation: str | None
) -> DenseShape:
    """Check a call of `dense`."""
    check_ndim("dense", "x", x.shape, ("batch", "in_features"))
    shape = dense_shape("dense", x.shape[0], weight.shape)
    if tuple(x.shape) != shape.input_shape:
        raise ValueError(
            f"dense: x has shape {tuple(x.shape)}, expected {shape.input_shape}"
            f"{hints.of_dense(x.shape[1], weight.shape[1])}"
        )
    if bias is not None:
        check_shape("dense", "bias", bias, (shape.out_features,))
    check_activation("dense", activation)
    return shape


def check_dense_backward_input(dy: HasShape, weight: HasShape) -> DenseShape:
    """Check a call of `dense_backward_input`."""
    operator = "dense_backward_input"
    check_ndim(operator, "dy", dy.shape, ("batch", "out_features"))
    shape = dense_shape(operator, dy.shape[0], weight.shape)
    if tuple(dy.shape) != shape.output_shape:
        raise ValueError(
            f"{operator}: dy has shape {tuple(dy.shape)}, expected {shape.output_shape}"
            f"{hints.of_dense(dy.shape[1], weight.shape[0])}"
        )
    return shape


def check_dense_backward_weight(dy: HasShape, x: HasShape) -> DenseShape:
    """Check a call of `dense_backward_weight`."""
    operator = "dense_backward_weight"
    check_ndim(operator, "dy", dy.shape, ("batch", "out_features"))
    check_ndim(operator, "x", x.shape, ("batch", "in_features"))
    shape = DenseShape(x.shape[0], x.shape[1], dy.shape[1])
    check_shape(operator, "dy", dy, shape.output_shape)
    return shape


def check_lrn(
    x: HasShape, depth_radius: int, bias: float, alpha: float, beta: float, *, operator: str = "lrn"
) -> ChannelsShape:
    """Check a call of `lrn`."""
    shape = channels_shape(operator, "x", x.shape)
    check_lrn_numbers(operator, depth_radius, bias, alpha, beta)
    return shape


def check_lrn_numbers(
    operator: str, depth_radius: int, bias: float, alpha: float, beta: float
) -> None:
    """Check what an LRN has besides its arrays."""
    check_int(operator, "depth_radius", depth_radius, 0, LARGEST_SIZE)
    base = check_number(operator, "bias", bias, above=0)
    check_number(operator, "alpha", alpha)
    exponent = check_number(operator, "beta", beta)
    check_number(operator, "bias ** -beta", _power(base, -exponent))


def check_lrn_backward_numbers(operator: str, bias: float, alpha: float, beta: float) -> None:
    """Check what the gradient has in addition, when `check_lrn_numbers` has passed."""
    check_number(operator, "1 / bias", 1 / float(bias))
    check_number(operator, "bias ** -(beta + 1)", _power(float(bias), -float(beta) - 1))
    check_number(operator, "2 * alpha * beta", 2 * float(alpha) * float(beta))


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def check_lrn_backward(
    dy: HasShape,
    x: HasShape,
    depth_radius: int,
    bias: float,
    alpha: float,
    beta: float,
    through_relu: bool,
) -> ChannelsShape:
    """Check a call of `lrn_backward`."""
    check_shape("lrn_backward", "dy", dy, tuple(x.shape))
    check_flag("lrn_backward", "through_relu", through_relu)
    shape = check_lrn(x, depth_radius, bias, alpha, beta, operator="lrn_backward")
    check_lrn_backward_numbers("lrn_backward", bias, alpha, beta)
    return shape


def check_relu_backward(dy: HasShape, y: HasShape) -> None:
    """Check a call of `relu_backward`."""
    check_shape("relu_backward", "y", y, tuple(dy.shape))


def check_batch_norm(
    x: HasShape,
    gamma: HasShape,
    beta: HasShape,
    mean: HasShape | None,
    variance: HasShape | None,
    epsilon: float,
    activation: str | None,
) -> ChannelsShape:
    """Check a call of `batch_norm`."""
    operator = "batch_norm"
    shape = channels_shape(operator, "x", x.shape)
    _check_per_channel(operator, x, {"gamma": gamma, "beta": beta})
    if (mean is None) != (variance is None):
        given, missing = ("variance", "mean") if mean is None else ("mean", "variance")
        raise ValueError(
            f"{operator}: {missing} is None but {given} is given, expected both (inference) or "
            "neither (training)"
        )
    if mean is not None and variance is not None:
        _check_per_channel(operator, x, {"mean": mean, "variance": variance})
    check_number(operator, "epsilon", epsilon, above=0)
    check_activation(operator, activation)
    return shape


def check_batch_norm_backward(
    dy: HasShape,
    x: HasShape,
    gamma: HasShape,
    mean: HasShape,
    variance: HasShape,
    epsilon: float,
    training: bool,
) -> ChannelsShape:
    """Check a call of `batch_norm_backward`."""
    operator = "batch_norm_backward"
    check_shape(operator, "dy", dy, tuple(x.shape))
    shape = channels_shape(operator, "x", x.shape)
    _check_per_channel(operator, x, {"gamma": gamma, "mean": mean, "variance": variance})
    check_number(operator, "epsilon", epsilon, above=0)
    check_flag(operator, "training", training)
    return shape


def _check_per_channel(operator: str, x: HasShape, arrays: Mapping[str, HasShape]) -> None:
    """Each of `arrays`, by argument name, has one number for each channel of x."""
    for argument, array in arrays.items():
        given, channels = tuple(array.shape), x.shape[-1]
        if (
            given != (channels,)
            and len(given) == 1
            and (hint := hints.of_channels("x", x.shape, given[0]))
        ):
            raise ValueError(
                f"{operator}: {argument} has shape {given}, but x has {channels} channels{hint}"
            )
        check_shape(operator, argument, array, (channels,))


def check_dropout(operator: str, rate: float, seed: int, offset: int) -> int:
    """Check the parameters; return the least Philox word that keeps its element."""
    check_number(operator, "rate", rate, low=0, below=1)
    check_int(operator, "seed", seed, 0, 2**64 - 1)
    check_int(operator, "offset", offset, 0, 2**64 - 1)
    return round(float(rate) * 2**32)


def check_softmax_cross_entropy(operator: str, logits: HasShape, labels: HasShape) -> Shape:
    """Check shapes; return that of the logits, (batch, classes)."""
    check_ndim(operator, "logits", logits.shape, ("batch", "classes"))
    check_shape(operator, "labels", labels, (logits.shape[0],))
    return tuple(logits.shape)


def check_label_range(operator: str, lowest: int, highest: int, classes: int) -> None:
    """Check the smallest and the largest label, which the implementation has found."""
    for label in (lowest, highest):
        if not 0 <= label < classes:
            raise ValueError(
                f"{operator}: labels has the value {label}, expected values from 0 to {classes - 1}"
            )


def check_sgd_update(
    parameter: HasShape,
    gradient: HasShape,
    velocity: HasShape,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """Check a call of `sgd_update`."""
    operator = "sgd_update"
    check_shape(operator, "gradient", gradient, tuple(parameter.shape))
    check_shape(operator, "velocity", velocity, tuple(parameter.shape))
    check_sgd_numbers(operator, learning_rate, momentum, weight_decay)


def check_sgd_numbers(
    operator: str, learning_rate: float, momentum: float, weight_decay: float
) -> None:
    """Check what SGD has besides its arrays."""
    check_number(operator, "learning_rate", learning_rate, low=0)
    check_number(operator, "momentum", momentum, low=0, below=1)
    check_number(operator, "weight_decay", weight_decay, low=0)


def check_adam_update(
    parameter: HasShape,
    gradient: HasShape,
    first_moment: HasShape,
    second_moment: HasShape,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> None:
    """Check a call of `adam_update`."""
    operator = "adam_update"
    check_shape(operator, "gradient", gradient, tuple(parameter.shape))
    check_shape(operator, "first_moment", first_moment, tuple(parameter.shape))
    check_shape(operator, "second_moment", second_moment, tuple(parameter.shape))
    check_int(operator, "step", step, 1, 2**63 - 1)
    check_adam_numbers(operator, learning_rate, beta1, beta2, epsilon, weight_decay, int(step))


def check_adam_numbers(
    operator: str,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int = 1,
) -> None:
    """Check what Adam has besides its arrays; the correction of the bias is largest at step 1."""
    check_number(operator, "learning_rate", learning_rate, low=0)
    check_number(operator, "beta1", beta1, low=0, below=1)
    check_number(operator, "beta2", beta2, low=0, below=1)
    check_number(operator, "epsilon", epsilon, above=0)
    check_number(operator, "weight_decay", weight_decay, low=0)
    rate = float(learning_rate) / (1 - float(beta1) ** step)
    check_number(operator, "learning_rate / (1 - beta1 ** step)", rate)
