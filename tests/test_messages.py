"""Every message of the argument checks, the same from every implementation."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from alexnet import cpu, reference
from alexnet.data import Dataset, ImageSet, Preprocessing, TrainingBatches
from alexnet.inference.evaluation import evaluate
from alexnet.inference.prediction import log_probabilities, predict, top_classes
from alexnet.interchange import from_caffe
from alexnet.network.checkpoint import TrainedModel
from alexnet.network.initializers import Constant, Initialisation, Normal
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten
from alexnet.network.variant import Variant
from alexnet.network.variants import AlexNet, variant_named
from alexnet.random import Generator
from alexnet.training.configuration import Configuration
from alexnet.training.optimizers import SGD
from alexnet.training.run import Run
from alexnet.training.schedules import Schedule
from alexnet.training.trainer import Trainer
from support import small_runs
from support.implementations import Cuda

IMPLEMENTATIONS = (reference, cpu)
LARGEST = 2**31 - 1


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Call:
    """A call of an operator, good but for the arguments that make it bad."""

    operator: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __call__(self, implementation: Any) -> object:
        return getattr(implementation, self.operator)(*self.args, **self.kwargs)


def call(operator: str, *args: Any, **kwargs: Any) -> Call:
    return Call(operator, args, kwargs)


X, WEIGHT, DY = zeros(2, 9, 9, 8), zeros(3, 3, 4, 6), zeros(2, 9, 9, 6)
LOGITS, LABELS = zeros(3, 5), np.array([0, 4, 2])
VECTOR = zeros(8)
PER_CHANNEL = dict.fromkeys(("gamma", "mean", "variance"), VECTOR)


def conv2d(**changes: Any) -> Call:
    return Call("conv2d", (), {"x": X, "weight": WEIGHT, "groups": 2, **changes})


def conv2d_backward_input(**changes: Any) -> Call:
    arguments = {"dy": DY, "weight": WEIGHT, "input_shape": X.shape, "groups": 2, **changes}
    return Call("conv2d_backward_input", (), arguments)


def conv2d_backward_weight(**changes: Any) -> Call:
    arguments = {"dy": DY, "x": X, "kernel_size": 3, "groups": 2, **changes}
    return Call("conv2d_backward_weight", (), arguments)


def sgd_update(**changes: Any) -> Call:
    arguments = {name: zeros(8) for name in ("parameter", "gradient", "velocity")}
    return Call("sgd_update", (), {**arguments, "learning_rate": 0.1, **changes})


HUGE = np.broadcast_to(np.float32(0), (2**45,))  # of which no machine makes a copy


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_shapes_are_checked_before_a_copy_is_made(implementation: ModuleType) -> None:
    for good in (
        *(conv2d(bias=zeros(6)), conv2d_backward_input(), conv2d_backward_weight(), sgd_update()),
        *(adam_update(), Call("lrn", (), {"x": X}), Call("max_pool2d", (), {"x": X})),
        Call("dense", (), {"x": LOGITS, "weight": zeros(5, 2), "bias": zeros(2)}),
        Call("dense_backward_input", (), {"dy": LOGITS, "weight": zeros(2, 5)}),
        Call("dense_backward_weight", (), {"dy": LOGITS, "x": LOGITS}),
        *(Call(name, (), {"dy": X, "x": X}) for name in ("lrn_backward", "max_pool2d_backward")),
        Call("relu_backward", (), {"dy": X, "y": X}),
        Call("batch_norm", (), {"x": X, **PER_CHANNEL, "beta": VECTOR}),
        Call("batch_norm_backward", (), {"dy": X, "x": X, **PER_CHANNEL}),
        Call("softmax_cross_entropy", (), {"logits": LOGITS, "labels": LABELS}),
    ):
        for name, value in good.kwargs.items():
            if isinstance(value, np.ndarray):
                bad = HUGE.view(np.int32) if name == "labels" else HUGE
                with pytest.raises(ValueError, match=rf"^{good.operator}: \w+ has shape"):
                    Call(good.operator, (), {**good.kwargs, name: bad})(implementation)
    network = AlexNet("cifar10-bn", seed=None, implementation=implementation)
    with pytest.raises(ValueError, match=r"^forward: x has shape \(35184372088832, 32, 32, 3\)"):
        network(np.broadcast_to(np.float32(0), (2**45, *network.input_shape)))


def adam_update(**changes: Any) -> Call:
    names = ("parameter", "gradient", "first_moment", "second_moment")
    return Call("adam_update", (), {**{name: zeros(8) for name in names}, "step": 1, **changes})


def lrn(**changes: Any) -> Call:
    return call("lrn", X, **changes)


def misaligned(array: np.ndarray) -> np.ndarray:
    """The same numbers one byte away from where the processor wants them."""
    memory = bytearray(array.nbytes + 1)
    shifted = np.frombuffer(memory, array.dtype, array.size, 1).reshape(array.shape)
    shifted[...] = array
    return shifted


def masked(array: np.ndarray) -> np.ndarray:
    return np.ma.masked_invalid(array)


# Numbers that float64 holds, and what is left of them in float32.
NO_FLOAT32 = [
    (lrn(bias=1e-50), "lrn: bias is 1e-50, which is 0 in float32, expected a finite number > 0"),
    (
        lrn(bias=np.float64(1e-50)),
        "lrn: bias is 1e-50, which is 0 in float32, expected a finite number > 0",
    ),
    (lrn(alpha=1e40), "lrn: alpha is 1e+40, which is inf in float32, expected a finite number"),
    (lrn(beta=-1e39), "lrn: beta is -1e+39, which is -inf in float32, expected a finite number"),
    (
        lrn(alpha=10**400),
        "lrn: alpha is an integer of 1329 bits, expected a finite number",
    ),
    (
        lrn(alpha=10**39),
        f"lrn: alpha is {10**39}, which is inf in float32, expected a finite number",
    ),
    (
        lrn(bias=2.0**-100, beta=2.0),
        "lrn: bias ** -beta is 1.6069380442589903e+60, which is inf in "
        "float32, expected a finite number",
    ),
    (
        lrn(bias=1e-3, alpha=0.0, beta=np.uint8(20)),  # whose negative is 236
        "lrn: bias ** -beta is 9.999999999999996e+59, which is inf in float32, expected a finite "
        "number",
    ),
    (
        call("lrn_backward", X, X, bias=1e-3, beta=np.uint8(12)),
        "lrn_backward: bias ** -(beta + 1) is 9.999999999999998e+38, which is inf in float32, "
        "expected a finite number",
    ),
    (
        lrn(bias=1e-30, beta=1e30),
        "lrn: bias ** -beta is inf, expected a finite number",
    ),
    (
        call("max_pool2d", X, window=(10**5000, 1, 1)),
        "max_pool2d: window is (an integer of 16610 bits, 1, 1), expected an integer or "
        "(height, width)",
    ),
    (
        lrn(depth_radius=10**5000),
        f"lrn: depth_radius is an integer of 16610 bits, expected an integer from 0 to {LARGEST}",
    ),
    (
        call("lrn_backward", X, X, bias=2.0**-100, beta=1.0),
        "lrn_backward: bias ** -(beta + 1) is 1.6069380442589903e+60, which is inf in "
        "float32, expected a finite number",
    ),
    (
        call("lrn_backward", X, X, bias=2.0**-140, beta=-1.0),
        "lrn_backward: 1 / bias is 1.393796574908164e+42, which is inf in float32, expected a "
        "finite number",
    ),
    (
        call("lrn_backward", X, X, alpha=3e38, beta=2.0),
        "lrn_backward: 2 * alpha * beta is 1.2e+39, which is inf in float32, expected a finite "
        "number",
    ),
    (
        call("dropout", X, rate=1 - 1e-10),
        "dropout: rate is 0.9999999999, which is 1 in float32, expected a finite number >= 0 and "
        "< 1",
    ),
    (
        call("dropout_backward", X, rate=-1e-50),
        "dropout_backward: rate is -1e-50, expected a finite number >= 0 and < 1",
    ),
    (
        call("batch_norm", X, VECTOR, VECTOR, epsilon=1e-46),
        "batch_norm: epsilon is 1e-46, which is 0 in float32, expected a finite number > 0",
    ),
    (
        call("batch_norm_backward", X, X, VECTOR, VECTOR, VECTOR, epsilon=1e39),
        "batch_norm_backward: epsilon is 1e+39, which is inf in float32, expected a finite number "
        "> 0",
    ),
    (
        sgd_update(learning_rate=1e39),
        "sgd_update: learning_rate is 1e+39, which is inf in float32, expected a finite number "
        ">= 0",
    ),
    (
        sgd_update(momentum=1 - 1e-10),
        "sgd_update: momentum is 0.9999999999, which is 1 in float32, expected a finite number "
        ">= 0 and < 1",
    ),
    (
        sgd_update(weight_decay=1e300),
        "sgd_update: weight_decay is 1e+300, which is inf in float32, expected a finite number "
        ">= 0",
    ),
    (
        adam_update(learning_rate=1e39),
        "adam_update: learning_rate is 1e+39, which is inf in float32, expected a finite number "
        ">= 0",
    ),
    (
        adam_update(learning_rate=3e38, beta1=0.5),
        "adam_update: learning_rate / (1 - beta1 ** step) is 6e+38, which is inf in float32, "
        "expected a finite number",
    ),
    (
        adam_update(beta1=1 - 1e-10),
        "adam_update: beta1 is 0.9999999999, which is 1 in float32, expected a finite number >= 0 "
        "and < 1",
    ),
    (
        adam_update(beta2=np.nextafter(1, 0)),
        "adam_update: beta2 is 0.9999999999999999, which is 1 in float32, expected a finite number "
        ">= 0 and < 1",
    ),
    (
        adam_update(epsilon=1e-60),
        "adam_update: epsilon is 1e-60, which is 0 in float32, expected a finite number > 0",
    ),
]

VALUE_ERRORS = [
    *NO_FLOAT32,
    # conv2d
    (
        conv2d(weight=zeros(3, 3, 3, 6)),
        "conv2d: weight has 3 input channels per group, but x has 8 channels and groups=2 "
        "(expected 4)",
    ),
    (
        conv2d(groups=4),
        "conv2d: groups is 4, expected a divisor of the 8 channels of x and of the 6 output "
        "channels",
    ),
    (conv2d(groups=0), f"conv2d: groups is 0, expected an integer from 1 to {LARGEST}"),
    (
        conv2d(x=zeros(9, 9, 8)),
        "conv2d: x has shape (9, 9, 8), expected (batch, height, width, channels)"
        ": x[None] is a batch of one",
    ),
    (
        conv2d(x=zeros(2, 9, 0, 8)),
        "conv2d: x has shape (2, 9, 0, 8), expected every extent but the first to be at least 1",
    ),
    (
        conv2d(weight=zeros(3, 3, 4)),
        "conv2d: weight has shape (3, 3, 4), expected "
        "(kernel_height, kernel_width, in_channels / groups, out_channels)",
    ),
    (
        conv2d(weight=zeros(3, 3, 4, 0)),
        "conv2d: weight has shape (3, 3, 4, 0), expected every extent to be at least 1",
    ),
    (
        conv2d(weight=zeros(11, 3, 4, 6), padding=((0, 1), (0, 0))),
        "conv2d: weight spans 11x3, expected at most 10x9, the height and width of x with padding",
    ),
    (conv2d(bias=zeros(5)), "conv2d: bias has shape (5,), expected (6,)"),
    (conv2d(stride=0), f"conv2d: stride is 0, expected an integer from 1 to {LARGEST}"),
    (conv2d(stride=2**40), f"conv2d: stride is {2**40}, expected an integer from 1 to {LARGEST}"),
    (
        conv2d(stride=(1, 2, 3)),
        "conv2d: stride is (1, 2, 3), expected an integer or (height, width)",
    ),
    (
        conv2d(padding="full"),
        "conv2d: padding is 'full', expected 'same', 'valid', an integer or "
        "((top, bottom), (left, right))",
    ),
    (
        conv2d(padding=(1, 2)),
        "conv2d: padding is (1, 2), expected 'same', 'valid', an integer or "
        "((top, bottom), (left, right))",
    ),
    (conv2d(padding=-1), f"conv2d: padding is -1, expected an integer from 0 to {LARGEST}"),
    (
        conv2d(padding=((0, 0), (0, -2))),
        f"conv2d: padding is -2, expected an integer from 0 to {LARGEST}",
    ),
    (conv2d(activation="tanh"), "conv2d: activation is 'tanh', expected None or 'relu'"),
    (
        conv2d(algorithm="fft"),
        "conv2d: algorithm is 'fft', expected one of "
        "('auto', 'naive', 'im2col', 'direct', 'winograd')",
    ),
    (conv2d(out=zeros(2, 9, 9, 7)), "conv2d: out has shape (2, 9, 9, 7), expected (2, 9, 9, 6)"),
    (
        conv2d_backward_input(dy=zeros(2, 9, 8, 6)),
        "conv2d_backward_input: dy has shape (2, 9, 8, 6), expected (2, 9, 9, 6)",
    ),
    (
        conv2d_backward_input(input_shape=(9, 9, 8)),
        "conv2d_backward_input: input_shape has shape "
        "(9, 9, 8), expected (batch, height, width, channels)",
    ),
    (
        conv2d_backward_input(input_shape=(-2, 9, 9, 8)),
        f"conv2d_backward_input: input_shape is -2, expected an integer from 0 to {LARGEST}",
    ),
    (
        conv2d_backward_input(input_shape=(2, 9, 9, 6)),
        "conv2d_backward_input: weight has 4 input "
        "channels per group, but input_shape has 6 channels and groups=2 (expected 3)",
    ),
    (
        conv2d_backward_weight(kernel_size=(3, 0)),
        f"conv2d_backward_weight: kernel_size is 0, expected an integer from 1 to {LARGEST}",
    ),
    (
        conv2d_backward_weight(kernel_size=10, padding=0),
        "conv2d_backward_weight: kernel_size "
        "spans 10x10, expected at most 9x9, the height and width of x with padding",
    ),
    (
        conv2d_backward_weight(dy=zeros(3, 9, 9, 6)),
        "conv2d_backward_weight: dy has shape (3, 9, 9, 6), expected (2, 9, 9, 6)",
    ),
    (
        conv2d_backward_weight(groups=3),
        "conv2d_backward_weight: groups is 3, expected a divisor "
        "of the 8 channels of x and of the 6 output channels",
    ),
    (
        conv2d_backward_weight(out=(None, zeros(7))),
        "conv2d_backward_weight: out[1] (dbias) has shape (7,), expected (6,)",
    ),
    # dense
    (call("dense", zeros(2, 3), zeros(4, 5)), "dense: x has shape (2, 3), expected (2, 4)"),
    (
        call("dense", zeros(2, 3, 1), zeros(3, 5)),
        "dense: x has shape (2, 3, 1), expected (batch, in_features): x.reshape(len(x), -1)",
    ),
    (
        call("dense", zeros(2, 3), zeros(3)),
        "dense: weight has shape (3,), expected (in_features, out_features)",
    ),
    (
        call("dense", zeros(2, 3), zeros(3, 0)),
        "dense: weight has shape (3, 0), expected every extent to be at least 1",
    ),
    (
        call("dense", zeros(2, 3), zeros(3, 4), zeros(3)),
        "dense: bias has shape (3,), expected (4,)",
    ),
    (
        call("dense", zeros(2, 3), zeros(3, 4), activation=1),
        "dense: activation is 1, expected None or 'relu'",
    ),
    (
        call("dense_backward_input", zeros(2, 3), zeros(3, 4)),
        "dense_backward_input: dy has shape (2, 3), expected (2, 4)"
        ": weight is (in, out) here, weight.T turns one of (out, in)",
    ),
    (
        call("dense_backward_weight", zeros(2, 3), zeros(4, 5)),
        "dense_backward_weight: dy has shape (2, 3), expected (4, 3)",
    ),
    # lrn
    (
        call("lrn", X, depth_radius=-1),
        f"lrn: depth_radius is -1, expected an integer from 0 to {LARGEST}",
    ),
    (call("lrn", X, bias=0), "lrn: bias is 0, expected a finite number > 0"),
    (call("lrn", X, alpha=float("nan")), "lrn: alpha is nan, expected a finite number"),
    (call("lrn", X, beta=float("inf")), "lrn: beta is inf, expected a finite number"),
    (call("lrn", zeros(3)), "lrn: x has shape (3,), expected (batch, ..., channels)"),
    (
        call("lrn", zeros(3, 0)),
        "lrn: x has shape (3, 0), expected every extent but the first to be at least 1",
    ),
    (call("lrn_backward", DY, X), "lrn_backward: dy has shape (2, 9, 9, 6), expected (2, 9, 9, 8)"),
    # max_pool2d
    (
        call("max_pool2d", X, window=10),
        "max_pool2d: window is 10x10, expected at most 9x9, the height and width of x with padding",
    ),
    (
        call("max_pool2d", X, window=(2, 3), padding=2),
        "max_pool2d: padding is 2, expected less than the window 2x3 on every side",
    ),
    (
        call("max_pool2d", X, window=(0, 1)),
        f"max_pool2d: window is 0, expected an integer from 1 to {LARGEST}",
    ),
    (
        call("max_pool2d", zeros(2, 9, 9)),
        "max_pool2d: x has shape (2, 9, 9), expected (batch, height, width, channels)"
        ": x[None] is a batch of one",
    ),
    (
        call("max_pool2d_backward", X, X),
        "max_pool2d_backward: dy has shape (2, 9, 9, 8), expected (2, 4, 4, 8)",
    ),
    # element-wise
    (call("relu", X, out=DY), "relu: out has shape (2, 9, 9, 6), expected (2, 9, 9, 8)"),
    (
        call("relu_backward", X, DY),
        "relu_backward: y has shape (2, 9, 9, 6), expected (2, 9, 9, 8)",
    ),
    (call("dropout", X, rate=1), "dropout: rate is 1, expected a finite number >= 0 and < 1"),
    (call("dropout", X, rate=-0.5), "dropout: rate is -0.5, expected a finite number >= 0 and < 1"),
    (
        call("dropout", X, seed=-1),
        f"dropout: seed is -1, expected an integer from 0 to {2**64 - 1}",
    ),
    (
        call("dropout_backward", X, offset=2**64),
        f"dropout_backward: offset is {2**64}, expected an integer from 0 to {2**64 - 1}",
    ),
    # batch_norm
    (call("batch_norm", X, zeros(7), VECTOR), "batch_norm: gamma has shape (7,), expected (8,)"),
    (
        call("batch_norm", X, VECTOR, zeros(8, 1)),
        "batch_norm: beta has shape (8, 1), expected (8,): beta.ravel()",
    ),
    (
        call("batch_norm", X, VECTOR, VECTOR, mean=VECTOR),
        "batch_norm: variance is None but mean "
        "is given, expected both (inference) or neither (training)",
    ),
    (
        call("batch_norm", X, VECTOR, VECTOR, epsilon=0.0),
        "batch_norm: epsilon is 0.0, expected a finite number > 0",
    ),
    (
        call("batch_norm_backward", X, X, VECTOR, VECTOR, zeros(6)),
        "batch_norm_backward: variance has shape (6,), expected (8,)",
    ),
    (
        call("batch_norm_backward", DY, X, VECTOR, VECTOR, VECTOR),
        "batch_norm_backward: dy has shape (2, 9, 9, 6), expected (2, 9, 9, 8)",
    ),
    # losses
    (
        call("softmax_cross_entropy", LOGITS, np.array([0, 5, 2])),
        "softmax_cross_entropy: labels has the value 5, expected values from 0 to 4",
    ),
    (
        call("softmax_cross_entropy_backward", LOGITS, np.array([0, 1, -1])),
        "softmax_cross_entropy_backward: labels has the value -1, expected values from 0 to 4",
    ),
    (
        call("softmax_cross_entropy", LOGITS, LABELS[:2]),
        "softmax_cross_entropy: labels has shape (2,), expected (3,)",
    ),
    (
        call("softmax_cross_entropy", zeros(3), LABELS),
        "softmax_cross_entropy: logits has shape (3,), expected (batch, classes)"
        ": logits[None] is a batch of one",
    ),
    # optimizers
    (sgd_update(gradient=zeros(7)), "sgd_update: gradient has shape (7,), expected (8,)"),
    (sgd_update(momentum=1), "sgd_update: momentum is 1, expected a finite number >= 0 and < 1"),
    (
        sgd_update(learning_rate=-1),
        "sgd_update: learning_rate is -1, expected a finite number >= 0",
    ),
    (
        sgd_update(parameter=VECTOR, velocity=VECTOR),
        "sgd_update: velocity overlaps parameter, expected separate memory",
    ),
    (
        sgd_update(parameter=zeros(16)[::2]),
        "sgd_update: parameter has strides (8,) for shape (8,), expected a C-contiguous array",
    ),
    (adam_update(step=0), f"adam_update: step is 0, expected an integer from 1 to {2**63 - 1}"),
    (adam_update(beta2=1.0), "adam_update: beta2 is 1.0, expected a finite number >= 0 and < 1"),
    (adam_update(epsilon=0), "adam_update: epsilon is 0, expected a finite number > 0"),
    (
        adam_update(second_moment=zeros(9)),
        "adam_update: second_moment has shape (9,), expected (8,)",
    ),
]

# FLOATS stands for the dtypes that the implementation takes.
TYPE_ERRORS = [
    (
        conv2d(x=X.tolist()),
        "conv2d: x is of type list, expected a numpy.ndarray of FLOATS"
        ": np.asarray(x, np.float32) gives one",
    ),
    (
        conv2d(weight=WEIGHT.astype(np.int64)),
        "conv2d: weight has dtype int64, expected FLOATS: weight.astype(np.float32)",
    ),
    (
        conv2d(x=X.astype(">f4")),
        "conv2d: x has dtype float32 in foreign byte order, expected FLOATS: x.astype(np.float32)",
    ),
    (
        conv2d(bias=zeros(6, dtype="float16")),
        "conv2d: bias has dtype float16, expected FLOATS: bias.astype(np.float32)",
    ),
    (conv2d(stride=1.0), "conv2d: stride is 1.0, expected an integer"),
    (conv2d(stride=True), "conv2d: stride is True, expected an integer"),
    (conv2d(padding=None), "conv2d: padding is None, expected an integer"),
    (conv2d(groups="2"), "conv2d: groups is '2', expected an integer"),
    (
        conv2d_backward_input(input_shape=9),
        "conv2d_backward_input: input_shape is 9, expected a tuple of integers",
    ),
    (
        conv2d_backward_weight(out=zeros(3, 3, 4, 6)),
        "conv2d_backward_weight: out is ndarray, "
        "expected a tuple (dweight, dbias) of arrays or None",
    ),
    (
        conv2d_backward_weight(out=(None,)),
        "conv2d_backward_weight: out is 1 entries, expected a "
        "tuple (dweight, dbias) of arrays or None",
    ),
    (call("lrn", X, alpha="1"), "lrn: alpha is '1', expected a real number"),
    (call("lrn", X, beta=True), "lrn: beta is True, expected a real number"),
    (call("lrn", X, depth_radius=2.0), "lrn: depth_radius is 2.0, expected an integer"),
    (call("max_pool2d", X, ceil_mode=1), "max_pool2d: ceil_mode is 1, expected True or False"),
    (
        call("relu", X, out=X.astype(np.int32)),
        "relu: out has dtype int32, expected FLOATS",
    ),
    (
        call("batch_norm_backward", X, X, VECTOR, VECTOR, VECTOR, training=None),
        "batch_norm_backward: training is None, expected True or False",
    ),
    (
        call("softmax_cross_entropy", LOGITS, LABELS.astype(np.float32)),
        "softmax_cross_entropy: labels has dtype float32, expected an integer dtype"
        ": labels.astype(np.int64)",
    ),
    (
        call("softmax_cross_entropy", LOGITS, LABELS > 0),
        "softmax_cross_entropy: labels has dtype bool, expected an integer dtype",
    ),
    (
        call("softmax_cross_entropy", LOGITS, [0, 1, 2]),
        "softmax_cross_entropy: labels is of type "
        "list, expected a numpy.ndarray of an integer dtype"
        ": np.asarray(labels) gives one",
    ),
    (
        lrn(bias=np.timedelta64(1, "s")),
        f"lrn: bias is {np.timedelta64(1, 's')!r}, expected a real number",
    ),
    (
        call("dropout", X, seed=np.timedelta64(1, "s")),
        f"dropout: seed is {np.timedelta64(1, 's')!r}, expected an integer",
    ),
    (adam_update(step=1.5), "adam_update: step is 1.5, expected an integer"),
    # numbers of other kinds
    (
        lrn(bias=Fraction(1, 2)),
        "lrn: bias is Fraction(1, 2), expected a real number",
    ),
    (lrn(bias=Decimal("0.5")), "lrn: bias is Decimal('0.5'), expected a real number"),
    (lrn(bias=1 + 0j), "lrn: bias is (1+0j), expected a real number"),
    (lrn(bias=None), "lrn: bias is None, expected a real number"),
    (
        lrn(bias=np.array(1.0)),
        "lrn: bias is an array of shape () and dtype float64, expected a real number",
    ),
    (
        lrn(bias=np.ones((100, 100))),
        "lrn: bias is an array of shape (100, 100) and dtype float64, expected a real number",
    ),
    (
        sgd_update(learning_rate="x" * 1000),
        f"sgd_update: learning_rate is '{'x' * 80}'..., expected a real number",
    ),
    (
        sgd_update(momentum=np.bool_(False)),
        f"sgd_update: momentum is {np.bool_(False)!r}, expected a real number",
    ),
    # masked arrays
    *(
        (
            bad_call,
            f"{bad_call.operator}: {argument} is a masked array, whose mask would be lost, "
            f"expected a numpy.ndarray of {kind}: filled(value) gives one",
        )
        for bad_call, argument, kind in (
            (conv2d(x=masked(X)), "x", "FLOATS"),
            (conv2d(weight=masked(WEIGHT)), "weight", "FLOATS"),
            (conv2d(bias=masked(zeros(6))), "bias", "FLOATS"),
            (conv2d(out=masked(DY)), "out", "FLOATS"),
            (conv2d_backward_weight(out=(None, masked(zeros(6)))), "out[1] (dbias)", "FLOATS"),
            (lrn(out=masked(zeros(*X.shape))), "out", "FLOATS"),
            (call("dense_backward_input", masked(LOGITS), zeros(3, 5)), "dy", "FLOATS"),
            (call("l2_loss", masked(LOGITS)), "x", "FLOATS"),
            (
                call("softmax_cross_entropy", LOGITS, masked(LABELS)),
                "labels",
                "an integer dtype",
            ),
            (sgd_update(parameter=masked(VECTOR)), "parameter", "FLOATS"),
            (sgd_update(gradient=masked(VECTOR)), "gradient", "FLOATS"),
            (adam_update(second_moment=masked(VECTOR)), "second_moment", "FLOATS"),
        )
    ),
]


def cases(table: list[tuple[Call, str]]) -> list[Any]:
    """Each bad call with each implementation."""
    return [
        pytest.param(implementation, bad_call, message, id=f"{name}-{message}")
        for implementation in IMPLEMENTATIONS
        for name in [implementation.__name__.removeprefix("alexnet.")]
        for bad_call, message in table
    ]


@pytest.mark.parametrize(("implementation", "bad_call", "message"), cases(VALUE_ERRORS))
def test_value_error(implementation: ModuleType, bad_call: Call, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bad_call(implementation)


OF_MEMORY = ("overlaps", "strides", "read-only")  # in test_cuda_device.py, of the device's arrays
OF_CUDA = [
    pytest.param(bad_call, message, id=message)
    for bad_call, message in VALUE_ERRORS
    if "out" not in bad_call.kwargs and not any(word in message for word in OF_MEMORY)
]


@pytest.mark.cuda
@pytest.mark.parametrize(("bad_call", "message"), OF_CUDA)
def test_value_error_of_cuda(bad_call: Call, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bad_call(Cuda())


@pytest.mark.parametrize(("implementation", "bad_call", "message"), cases(TYPE_ERRORS))
def test_type_error(implementation: ModuleType, bad_call: Call, message: str) -> None:
    floats = "float32 or float64" if implementation is reference else "float32"
    with pytest.raises(TypeError, match=f"^{re.escape(message.replace('FLOATS', floats))}$"):
        bad_call(implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda module: module.__name__)
def test_the_calls_are_good_without_their_changes(implementation: ModuleType) -> None:
    good = (
        conv2d(),
        conv2d_backward_input(),
        conv2d_backward_weight(),
        sgd_update(),
        adam_update(),
        call("softmax_cross_entropy", LOGITS, LABELS),
    )
    for good_call in good:
        good_call(implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda module: module.__name__)
def test_nothing_is_written_by_a_bad_call(implementation: ModuleType) -> None:
    out = np.full((2, 9, 9, 6), 7, np.float32)
    dweight = np.full((3, 3, 4, 6), 7, np.float32)
    parameter, velocity = np.full(8, 7, np.float32), np.full(8, 7, np.float32)
    for bad_call in (
        conv2d(out=out, algorithm="fft"),
        conv2d_backward_weight(out=(dweight, zeros(5))),
        sgd_update(parameter=parameter, velocity=velocity, gradient=zeros(9)),
        sgd_update(parameter=parameter, velocity=velocity, weight_decay=-1),
    ):
        with pytest.raises(ValueError, match="expected"):
            bad_call(implementation)
    for array in (out, dweight, parameter, velocity):
        np.testing.assert_array_equal(array, 7)


# --- where arrays lie -----------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    "bad_call",
    [
        conv2d(out=misaligned(DY)),
        conv2d_backward_weight(out=(misaligned(WEIGHT), None)),
        lrn(out=misaligned(X)),
        call("softmax_cross_entropy_backward", LOGITS, LABELS, out=misaligned(LOGITS)),
        sgd_update(parameter=misaligned(VECTOR)),
        adam_update(first_moment=misaligned(VECTOR)),
    ],
    ids=lambda bad_call: bad_call.operator,
)
def test_results_are_written_to_aligned_arrays_only(
    implementation: ModuleType, bad_call: Call
) -> None:
    with pytest.raises(
        ValueError,
        match=r"begins at the address \d+, expected a multiple of 4: an aligned array$",
    ):
        bad_call(implementation)


class OwnLayer(Flatten):
    pass


class Subclass(np.ndarray):
    """Arrays whose arithmetic is not NumPy's."""

    def __array_ufunc__(self, *_: object, **__: object) -> object:
        raise AssertionError("arithmetic of the subclass")


LAYOUTS = {
    "misaligned": misaligned,
    "subclass": lambda array: array.view(Subclass),
    "metadata": lambda array: array.astype(np.dtype(array.dtype, metadata={"unit": "m"})),
    "byte order made anew": lambda array: array.view(array.dtype.newbyteorder("=")),
    "Fortran order": np.asfortranarray,
}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_any_layout_give_the_same(implementation: ModuleType, layout: str) -> None:
    generator = np.random.default_rng(1)

    def numbers(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    x, weight, bias = numbers(*X.shape), numbers(*WEIGHT.shape), numbers(6)
    calls_and_arrays: list[tuple[str, tuple[np.ndarray, ...], dict[str, Any]]] = [
        (operator, (x, weight, bias), {"groups": 2, "algorithm": algorithm})
        for operator in ("conv2d",)
        for algorithm in ("naive", "im2col", "direct", "winograd")
    ]
    calls_and_arrays += [
        ("lrn", (x,), {}),
        ("lrn_backward", (x, numbers(*X.shape)), {}),
        ("max_pool2d", (x,), {}),
        ("dense", (numbers(3, 8), numbers(8, 5), numbers(5)), {}),
        ("relu", (x,), {}),
        ("dropout", (x,), {}),
        ("batch_norm", (x, numbers(8), numbers(8)), {}),
        ("softmax_cross_entropy", (numbers(3, 5), LABELS), {}),
        ("softmax_cross_entropy_backward", (numbers(3, 5), LABELS), {}),
        ("l2_loss", (x,), {}),
    ]
    for operator, arrays, options in calls_and_arrays:
        function = getattr(implementation, operator)
        expected = function(*arrays, **options)
        laid_out = [LAYOUTS[layout](array) for array in arrays]
        actual = function(*laid_out, **options)
        if isinstance(expected, np.ndarray):
            actual, expected = (actual,), (expected,)
        for array, right in zip(actual, expected, strict=True):
            assert type(array) is np.ndarray
            np.testing.assert_allclose(array, right, rtol=1e-12, err_msg=operator)


def test_results_may_go_to_any_aligned_array() -> None:
    x = np.random.default_rng(1).standard_normal(X.shape).astype(np.float32)
    for layout in ("metadata", "byte order made anew"):
        out = LAYOUTS[layout](zeros(*X.shape))
        assert cpu.relu(x, out=out) is out
        np.testing.assert_array_equal(out, np.maximum(x, 0))


# --- numbers of NumPy's dtypes --------------------------------------------------------------------


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda module: module.__name__)
def test_numbers_of_small_dtypes_are_as_pythons(implementation: ModuleType) -> None:
    generator = np.random.default_rng(1)
    x = np.abs(generator.standard_normal((2, 3, 3, 200))).astype(np.float32)
    good_calls: list[tuple[str, int, dict[str, Any]]] = [
        ("lrn", 1, {"depth_radius": np.int8(2), "alpha": np.float16(6e4), "bias": np.uint8(2)}),
        ("lrn_backward", 2, {"depth_radius": np.int8(2), "alpha": np.int8(100)}),
        ("max_pool2d", 1, {"window": np.int8(2), "ceil_mode": np.bool_(True)}),
        ("dropout", 1, {"rate": np.float16(0.3), "seed": np.uint8(200)}),
        ("sgd_update", 3, {"learning_rate": np.int8(3), "momentum": np.float16(0.9)}),
        ("adam_update", 4, {"step": np.int8(100), "beta1": np.float16(0.9)}),
    ]
    for operator, count, options in good_calls:
        results = []
        for numbers in (options, {name: value.item() for name, value in options.items()}):
            arrays = [x.copy() for _ in range(count)]
            result = getattr(implementation, operator)(*arrays, **numbers)
            results.append(arrays if result is None else [result])
        for array, right in zip(*results, strict=True):
            np.testing.assert_array_equal(array, right, err_msg=operator)


def test_a_description_may_have_numbers_of_numpys_dtypes() -> None:
    i8, f16 = np.int8, np.float16
    layers = (
        Conv2d("conv1", i8(64), i8(3), stride=[i8(1), 1], groups=i8(1), bias=np.bool_(True)),
        LRN("lrn1", i8(2), f16(2), f16(6e4), f16(0.75)),
        BatchNorm("bn1", f16(1e-3), f16(0.25)),
        Dropout("drop1", f16(0.5)),
    )
    rules = Initialisation(Normal(f16(0.1)), Constant(i8(0)))
    variant = Variant("own", "", [i8(8), i8(8), i8(3)], layers, rules)
    assert Variant.from_json(variant.to_json()) == variant
    assert variant.num_parameters == 3 * 3 * 3 * 64 + 64 + 128
    settings = {"batch_size": np.int64(4), "learning_rate": np.float32(0.5), "seed": np.uint8(3)}
    given = Configuration(**settings)
    assert json.loads(json.dumps(dataclasses.asdict(given))) == dataclasses.asdict(given)


# --- everything else that a user can call ---------------------------------------------------------

NETWORK = AlexNet(small_runs.SMALL.with_classes(3))
DATA = small_runs.dataset()
PREPROCESSING = Preprocessing.fit(DATA.train, NETWORK.input_shape)
BATCHES = TrainingBatches(DATA.train, PREPROCESSING, 8)
MODEL = TrainedModel(NETWORK, DATA.class_names, PREPROCESSING, 0)
PIXELS, IMAGE_LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)
RULE = SGD(NETWORK)
MASKED = "is a masked array, whose mask would be lost, expected a numpy.ndarray of"


def configuration(**settings: Any) -> Callable[[], object]:
    return lambda: Configuration(**settings)


PUBLIC: list[tuple[Callable[[], object], type[Exception], str]] = [
    # settings of a run
    (
        configuration(optimizer="Adam"),
        ValueError,
        "training: optimizer is 'Adam', expected adam, sgd",
    ),
    (configuration(optimizer=None), ValueError, "training: optimizer is None, expected adam, sgd"),
    (
        configuration(schedule="linear"),
        ValueError,
        "training: schedule is 'linear', expected constant, step, cosine",
    ),
    (
        configuration(augment=["none"]),
        ValueError,
        "training: augment is a list of 1, expected none, standard, paper",
    ),
    (
        configuration(batch_size="4"),
        TypeError,
        "training: batch_size is '4', expected an integer",
    ),
    (
        configuration(batch_size=None),
        TypeError,
        "training: batch_size is None, expected an integer",
    ),
    (
        configuration(epochs=0),
        ValueError,
        f"training: epochs is 0, expected an integer from 1 to {LARGEST}",
    ),
    (
        configuration(steps=0),
        ValueError,
        f"training: steps is 0, expected an integer from 1 to {LARGEST}",
    ),
    (configuration(steps=1.5), TypeError, "training: steps is 1.5, expected an integer"),
    (
        configuration(seed=-1),
        ValueError,
        f"training: seed is -1, expected an integer from 0 to {2**64 - 1}",
    ),
    (
        lambda: cpu.max_pool2d(np.zeros((1, 4, 4, 1), np.float32), window=(10**5000, 1, 1)),
        ValueError,
        "max_pool2d: window is (an integer of 16610 bits, 1, 1), expected an integer or "
        "(height, width)",
    ),
    (
        lambda: Dense("", 3),
        ValueError,
        "layer: name is '', expected printable text",
    ),
    (
        lambda: Dense("fc1", 3, bias=1),
        TypeError,
        "fc1: bias is 1, expected True or False",
    ),
    (
        lambda: Variant("a\nb", "", (4, 4, 3), (Flatten("flatten"),)),
        ValueError,
        "variant: name is 'a\\nb', expected printable text",
    ),
    (
        lambda: Variant("deep", "", (1,), tuple(Flatten(f"flatten{n}") for n in range(1001))),
        ValueError,
        "deep: number of layers is 1001, expected an integer from 1 to 1000",
    ),
    (
        lambda: Variant("own", "", (4, 4, 3), (OwnLayer("mine"),)).to_json(),
        ValueError,
        "own: cannot be saved, since it is not the description of a network: layers[0].type is "
        "'OwnLayer', expected Conv2d, Dense, LRN, MaxPool2d, BatchNorm, Dropout, Flatten",
    ),
    (
        configuration(learning_rate=0),
        ValueError,
        "training: learning_rate is 0, expected a finite number >= 1e-30 and <= 1e+30",
    ),
    (
        configuration(learning_rate=1e39),
        ValueError,
        "training: learning_rate is 1e+39, expected a finite number >= 1e-30 and <= 1e+30",
    ),
    (
        configuration(momentum=1 - 1e-10),
        ValueError,
        "training: momentum is 0.9999999999, which is 1 in float32, expected a finite number >= 0 "
        "and < 1",
    ),
    (
        configuration(weight_decay=True),
        TypeError,
        "training: weight_decay is True, expected a real number",
    ),
    (
        configuration(warm_up=-1),
        ValueError,
        f"training: warm_up is -1, expected an integer from 0 to {LARGEST}",
    ),
    (
        configuration(evaluate_every=0),
        ValueError,
        f"training: evaluate_every is 0, expected an integer from 1 to {LARGEST}",
    ),
    (
        lambda: Configuration().continued({"epoch": 3}),
        ValueError,
        "training: the setting is 'epoch', expected variant, epochs, steps, batch_size, seed, "
        "optimizer, learning_rate, momentum, weight_decay, schedule, warm_up, augment, "
        "evaluate_every, checkpoint_every",
    ),
    (
        lambda: Schedule("cosine", 1e-50, 10),
        ValueError,
        "schedule: learning_rate is 1e-50, which is 0 in float32, expected a finite number > 0",
    ),
    (
        lambda: Schedule("constant", 0.1, 10)(-1),
        ValueError,
        f"schedule: step is -1, expected an integer from 0 to {LARGEST}",
    ),
    # images
    (
        lambda: ImageSet(PIXELS / 255, IMAGE_LABELS),
        TypeError,
        "ImageSet: pixels has dtype float64, expected uint8"
        ": (255 * pixels).round().astype(np.uint8), if they are 0 .. 1",
    ),
    (
        lambda: ImageSet(np.ma.masked_equal(PIXELS, 0), IMAGE_LABELS),
        TypeError,
        f"ImageSet: pixels {MASKED} uint8: filled(value) gives one",
    ),
    (
        lambda: ImageSet(PIXELS[..., :1], IMAGE_LABELS),
        ValueError,
        "ImageSet: pixels has shape (4, 8, 8, 1), expected (4, 8, 8, 3)",
    ),
    (
        lambda: ImageSet(PIXELS[0], IMAGE_LABELS),
        ValueError,
        "ImageSet: pixels has shape (8, 8, 3), expected (images, height, width, 3)"
        ": pixels[None] is a batch of one",
    ),
    (
        lambda: ImageSet(PIXELS, IMAGE_LABELS[:3]),
        ValueError,
        "ImageSet: labels has shape (3,), expected (4,)",
    ),
    (
        lambda: ImageSet(PIXELS, IMAGE_LABELS / 1),
        TypeError,
        "ImageSet: labels has dtype float64, expected an integer dtype: labels.astype(np.int64)",
    ),
    (
        lambda: ImageSet(PIXELS, IMAGE_LABELS - 1),
        ValueError,
        f"ImageSet: labels are from -1 to 2, expected integers from 0 to {LARGEST}",
    ),
    (
        lambda: Dataset("cats", DATA.train, None),
        TypeError,
        "Dataset: class_names is 'cats', expected tuple or list",
    ),
    (
        lambda: Dataset(("cats", 3), DATA.train, None),
        TypeError,
        "Dataset: class_names is 3, expected str",
    ),
    (
        lambda: Dataset(("cats",), None, None),
        TypeError,
        "Dataset: train is None, expected ImageSource",
    ),
    (
        lambda: PREPROCESSING.evaluation_views([np.ones((32, 32, 3))]),
        TypeError,
        "preprocessing: image has dtype float64, expected uint8"
        ": (255 * image).round().astype(np.uint8), if they are 0 .. 1",
    ),
    (
        lambda: PREPROCESSING.evaluation_views([np.ones((32, 32), np.uint8)]),
        ValueError,
        "preprocessing: image has shape (32, 32), expected (height, width, 3)"
        ": np.dstack([image] * 3) of a grey one",
    ),
    (
        lambda: TrainingBatches(DATA, PREPROCESSING, 8),
        TypeError,
        "training: source is alexnet.data.sources.Dataset, expected ImageSource",
    ),
    # prediction
    (
        lambda: predict(MODEL, [np.full((32, 32, 3), 0.5)]),
        TypeError,
        "predict: image has dtype float64, expected uint8: (255 * image).round().astype(np.uint8), "
        "if they are 0 .. 1",
    ),
    (
        lambda: predict(MODEL, np.zeros((3, 32, 32), np.uint8)),
        ValueError,
        "predict: image has shape (3, 32, 32), expected (height, width, 3): "
        "image.transpose(1, 2, 0)",
    ),
    (
        lambda: predict(MODEL, np.zeros((32, 32), np.uint8)),
        ValueError,
        "predict: image has shape (32, 32), expected (height, width, 3): "
        "np.dstack([image] * 3) of a grey one",
    ),
    (
        lambda: NETWORK.assign(NETWORK),
        TypeError,
        f"{NETWORK.variant.name}: tensors is alexnet.network.variants.AlexNet, expected arrays by "
        "name, as a network's tensors() gives them",
    ),
    (
        lambda: from_caffe(None),
        TypeError,
        "Caffe's AlexNet: layers is None, expected Mapping",
    ),
    (
        lambda: from_caffe({"conv1": 3}),
        ValueError,
        "Caffe's AlexNet: conv1 is 3, expected [weight, bias]",
    ),
    (
        lambda: top_classes(np.zeros(3), 3),
        TypeError,
        "top_classes: class_names is 3, expected Sequence",
    ),
    (
        lambda: predict(MODEL, 3),
        TypeError,
        "predict: images is 3, expected a file, an image, pixels, or a sequence of these",
    ),
    (
        lambda: predict(NETWORK, []),
        TypeError,
        "predict: model is alexnet.network.variants.AlexNet, expected a TrainedModel: "
        "alexnet.load_model reads one, a network with how images are prepared for it",
    ),
    (
        lambda: predict(MODEL, [], ten_crop=10),
        TypeError,
        "predict: ten_crop is 10, expected True or False",
    ),
    (
        lambda: log_probabilities(NETWORK, np.zeros((3, 32, 32, 3), np.float32), 2),
        ValueError,
        "log_probabilities: views has shape (3, 32, 32, 3), expected a multiple of "
        "views_per_image, 2, of them",
    ),
    (
        lambda: log_probabilities(NETWORK, np.ma.zeros((2, 32, 32, 3), np.float32)),
        TypeError,
        f"log_probabilities: views {MASKED} float32 or float64: filled(value) gives one",
    ),
    (
        lambda: top_classes(np.zeros((2, 3)), None),
        ValueError,
        "top_classes: probabilities has shape (2, 3), expected (classes)"
        ": probabilities[0] is its first row",
    ),
    (
        lambda: evaluate(NETWORK, DATA, PREPROCESSING),
        TypeError,
        "evaluate: images is alexnet.data.sources.Dataset, expected ImageSource",
    ),
    (
        lambda: evaluate(NETWORK, DATA.train, None),
        TypeError,
        "evaluate: preprocessing is None, expected Preprocessing",
    ),
    # training
    (
        lambda: Trainer(AlexNet(NETWORK.variant), RULE, BATCHES),
        ValueError,
        "training: optimizer is of another network, expected one of network",
    ),
    (
        lambda: Trainer(NETWORK, "adam", BATCHES),
        TypeError,
        "training: optimizer is 'adam', expected Optimizer",
    ),
    (
        lambda: Trainer(NETWORK, RULE, DATA.train),
        TypeError,
        "training: batches is alexnet.data.sources.ImageSet, expected TrainingBatches",
    ),
    (
        lambda: Trainer(NETWORK, RULE, BATCHES, schedule=0.1),
        TypeError,
        "training: schedule is 0.1, expected a function or None",
    ),
    (
        lambda: Run.start("never-made", {"epochs": 3}, DATA),
        TypeError,
        "training: configuration is a dictionary of 1, expected Configuration",
    ),
    # layers, initialisers, variants
    (
        lambda: LRN("lrn1", 4, 1e-50, 1.0, 0.75),
        ValueError,
        "lrn1: bias is 1e-50, which is 0 in float32, expected a finite number > 0",
    ),
    (
        lambda: LRN("lrn1", 4, "1", 1.0, 0.75),
        TypeError,
        "lrn1: bias is '1', expected a real number",
    ),
    (
        lambda: BatchNorm("bn1", epsilon="a"),
        TypeError,
        "bn1: epsilon is 'a', expected a real number",
    ),
    (
        lambda: BatchNorm("bn1", momentum=1.5),
        ValueError,
        "bn1: momentum is 1.5, expected a finite number >= 0 and <= 1",
    ),
    (
        lambda: Dropout("drop", 1 - 1e-10),
        ValueError,
        "drop: rate is 0.9999999999, which is 1 in float32, expected a finite number >= 0 and < 1",
    ),
    (
        lambda: Conv2d("conv1", 8, 3, activation="tanh"),
        ValueError,
        "conv1: activation is 'tanh', expected None or 'relu'",
    ),
    (
        lambda: Conv2d("conv1", 8, 3, bias="no"),
        TypeError,
        "conv1: bias is 'no', expected True or False",
    ),
    (lambda: Dense(3, 8), TypeError, "layer: name is 3, expected str"),
    (
        lambda: Normal(1e39),
        ValueError,
        "Normal: stddev is 1e+39, expected a finite number >= 0 and < 4.25353e+37",
    ),
    (
        lambda: Constant(1e40),
        ValueError,
        "Constant: value is 1e+40, which is inf in float32, expected a finite number",
    ),
    (
        lambda: Initialisation(0.1),
        TypeError,
        "initialisation: weight is 0.1, expected Initializer",
    ),
    (
        lambda: Initialisation(Normal(0.1), exceptions={"conv1.bias": 0.1}),
        TypeError,
        "initialisation: the exception 'conv1.bias' is 0.1, expected Initializer",
    ),
    (
        lambda: Variant("own", "", (8, 8, 3), (Conv2d("conv1", 8, 3),), "normal"),
        TypeError,
        "own: initialisation is 'normal', expected Initialisation",
    ),
    (
        lambda: Variant("own", "", (8, 0, 3), (Conv2d("conv1", 8, 3),)),
        ValueError,
        "own: input_shape has shape (8, 0, 3), expected every extent to be at least 1",
    ),
    (
        lambda: NETWORK.variant.shrunk(width=0),
        ValueError,
        f"{NETWORK.variant.name}: width is 0, expected a finite number > 0",
    ),
    # random numbers
    (
        lambda: Generator().normal(3, 1e39),
        ValueError,
        "normal: stddev is 1e+39, which is inf in float32, expected a finite number >= 0",
    ),
    (
        lambda: setattr(Generator(), "state", None),
        TypeError,
        "Generator: state is None, expected Mapping",
    ),
]


@pytest.mark.parametrize(
    ("bad_call", "kind", "message"), PUBLIC, ids=[message for _, _, message in PUBLIC]
)
def test_other_errors(bad_call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        bad_call()


def test_a_variant_read_from_a_file_is_checked_as_one_that_is_built() -> None:
    text = variant_named("krizhevsky-2012").to_json()
    assert '"bias": 2.0' in text
    for number in ("1e-50", "1e40", "NaN", '"2"', "null"):
        fault = "it has the number NaN, which JSON has not" if number == "NaN" else "lrn1: bias is "
        with pytest.raises(ValueError, match=f"^not the description of a network: {fault}"):
            Variant.from_json(text.replace('"bias": 2.0', f'"bias": {number}', 1))


def test_labels_of_any_integers_become_int64() -> None:
    for dtype in ("uint8", "int32", "uint64"):
        assert ImageSet(PIXELS, IMAGE_LABELS.astype(dtype)).labels.dtype == np.int64
