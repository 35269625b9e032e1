"""TensorFlow: tf.function in NHWC, the layout of its kernels; also frozen for inference.

In bfloat16 its graph optimiser decides which operators take it (auto_mixed_precision_onednn). By
default it computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2 as frozen,
)

from alexnet.comparison.benchmark import FORWARD
from alexnet.comparison.cases import (
    ADAM,
    BFLOAT16,
    FLOAT32,
    TRAINING_STEP,
    Arrays,
    Case,
    LayerCase,
    NetworkCase,
)
from alexnet.comparison.peers.interface import Job, Peer, updates
from alexnet.comparison.peers.windows import conv2d_extents, pool2d_extents, pool2d_pads
from alexnet.contract.arguments import Shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d

Tensor: TypeAlias = Any
Function: TypeAlias = Callable[[Tensor, Mapping[str, Tensor], bool], Tensor]


class TensorFlow(Peer):
    """The project's own layouts. "frozen" has the weights as constants of the graph."""

    def __init__(self, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    def version(self) -> str:
        return f"TensorFlow {tf.__version__}"

    def modes(self, case: Case) -> tuple[str, ...]:
        has_frozen = isinstance(case, NetworkCase) and case.target == FORWARD
        return ("nhwc", "frozen nhwc") if has_frozen else ("nhwc",)

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        if isinstance(case, LayerCase):
            return _layer_job(case, operands)
        is_reduced = case.precision == BFLOAT16
        tf.config.optimizer.set_experimental_options(
            {"auto_mixed_precision_onednn_bfloat16": is_reduced}
        )
        if case.target == FORWARD:
            return _forward_job(case, mode, operands)
        return _training_job(case, operands)


# --- layers ---------------------------------------------------------------------------------------
# Each builds the function of x, the layer's parameters and `training` for one input shape.


def _padding(rows: tuple[int, int], columns: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return ((0, 0), rows, columns, (0, 0))


def _conv2d(layer: Conv2d, input_shape: Shape) -> Function:
    s = conv2d_extents(layer, input_shape)
    same = layer.padding == "same"  # which TensorFlow's kernels do without a padded copy
    pads = _padding((s.pad_top, s.pad_bottom), (s.pad_left, s.pad_right))
    padding = "SAME" if same else pads
    strides = (s.stride_height, s.stride_width)

    def function(x: Tensor, parameters: Mapping[str, Tensor], _: bool) -> Tensor:
        y = tf.nn.conv2d(x, parameters["weight"], strides, padding)
        if layer.bias:
            y = tf.nn.bias_add(y, parameters["bias"])
        return _activated(y, layer.activation)

    return function


def _dense(layer: Dense, _: Shape) -> Function:
    def function(x: Tensor, parameters: Mapping[str, Tensor], _: bool) -> Tensor:
        y = tf.matmul(x, parameters["weight"])
        if layer.bias:
            y = tf.nn.bias_add(y, parameters["bias"])
        return _activated(y, layer.activation)

    return function


def _lrn(layer: LRN, _: Shape) -> Function:
    return lambda x, _parameters, _training: tf.nn.local_response_normalization(
        x, layer.depth_radius, layer.bias, layer.alpha, layer.beta
    )


def _max_pool2d(layer: MaxPool2d, input_shape: Shape) -> Function:
    s = pool2d_extents(layer, input_shape)
    window, strides = (s.window_height, s.window_width), (s.stride_height, s.stride_width)
    rows, columns = pool2d_pads(s)
    padding = _padding(rows, columns) if any((*rows, *columns)) else "VALID"
    return lambda x, _parameters, _training: tf.nn.max_pool2d(x, window, strides, padding)


def _batch_norm(layer: BatchNorm, input_shape: Shape) -> Function:
    """Give the fused operator, which takes images only, features as images of one pixel."""
    batch, channels = input_shape[0], input_shape[-1]
    image_shape = input_shape if len(input_shape) == 4 else (batch, 1, 1, channels)

    def function(x: Tensor, parameters: Mapping[str, Tensor], training: bool) -> Tensor:
        running = () if training else (parameters["running_mean"], parameters["running_variance"])
        y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.reshape(x, image_shape),
            parameters["gamma"],
            parameters["beta"],
            *running,
            epsilon=layer.epsilon,
            is_training=training,
        )
        if training and "running_mean" in parameters:
            for name, value in (("running_mean", mean), ("running_variance", variance)):
                variable = parameters[name]
                variable.assign_add(layer.momentum * (value - variable))
        return _activated(tf.reshape(y, input_shape), layer.activation)

    return function


def _same(_: Layer, __: Shape) -> Function:
    """Dropout: nothing in inference, and cases of training have none."""
    return lambda x, _parameters, _training: x


def _flatten(layer: Flatten, input_shape: Shape) -> Function:
    return lambda x, _parameters, _training: tf.reshape(x, layer.output_shape(input_shape))


def _activated(y: Tensor, activation: str | None) -> Tensor:
    return y if activation is None else tf.nn.relu(y)


_FUNCTIONS: dict[type[Layer], Callable[[Any, Shape], Function]] = {
    Conv2d: _conv2d,
    Dense: _dense,
    LRN: _lrn,
    MaxPool2d: _max_pool2d,
    BatchNorm: _batch_norm,
    Dropout: _same,
    Flatten: _flatten,
}


# --- jobs -----------------------------------------------------------------------------------------


def _layer_job(case: LayerCase, operands: Arrays) -> Job:
    function = _FUNCTIONS[type(case.layer)](case.layer, case.input_shape)
    tensors = {name: tf.constant(array) for name, array in operands.items()}
    x, dy = tensors["x"], tensors["dy"]
    parameters = {name: tensors[name] for name in case.parameter_shapes}
    if case.direction == "forward":
        forward = tf.function(lambda x, parameters: function(x, parameters, True))
        return Job(lambda: forward(x, parameters), lambda y: {"y": y.numpy()})

    def gradients(x: Tensor, parameters: Mapping[str, Tensor], dy: Tensor) -> dict[str, Tensor]:
        named = {f"d{name}": tensor for name, tensor in {"x": x, **parameters}.items()}
        wanted = {name: named[name] for name in case.result_shapes}
        with tf.GradientTape() as tape:
            tape.watch(wanted)
            y = function(x, parameters, True)
        result: dict[str, Tensor] = tape.gradient(y, wanted, dy)
        return result

    backward = tf.function(gradients)
    return Job(lambda: backward(x, parameters, dy), _arrays)


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _forward(case: NetworkCase, variables: Mapping[str, Tensor], training: bool) -> Any:
    """Build the network as a function of the images."""
    steps = [
        (_FUNCTIONS[type(layer)](layer, shape), own) for layer, shape, own in case.layers(variables)
    ]

    def forward(x: Tensor) -> Tensor:
        for function, own in steps:
            x = function(x, own, training)
        return x

    return forward


def _variables(operands: Arrays) -> dict[str, Tensor]:
    return {
        name: tf.Variable(array) for name, array in operands.items() if name not in ("x", "labels")
    }


def _forward_job(case: NetworkCase, mode: str, operands: Arrays) -> Job:
    images, variables = tf.constant(operands["x"]), _variables(operands)
    forward = tf.function(_forward(case, variables, False))
    precision = BFLOAT16 if case.precision == BFLOAT16 else FLOAT32
    if not mode.startswith("frozen"):
        return Job(lambda: forward(images), lambda y: {"y": y.numpy()}, precision)
    constant = frozen(forward.get_concrete_function(images))
    return Job(lambda: constant(images), lambda y: {"y": y[0].numpy()}, precision)


def _training_job(case: NetworkCase, operands: Arrays) -> Job:
    images, variables = tf.constant(operands["x"]), _variables(operands)
    network = _forward(case, variables, True)
    trained = {name: variables[name] for name in case.variant.parameter_shapes()}

    def gradients(x: Tensor) -> dict[str, Tensor]:
        with tf.GradientTape() as tape:
            y = network(x)
        return {"y": y, **tape.gradient(y, trained, y)}

    if case.target != TRAINING_STEP:
        run = tf.function(gradients)
        return Job(lambda: run(images), _arrays)

    labels, adam = tf.constant(operands["labels"]), _Adam(trained)

    def training_step(x: Tensor, labels: Tensor) -> Tensor:
        with tf.GradientTape() as tape:
            logits = network(x)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        adam.update(tape.gradient(loss, trained))
        return loss

    step = tf.function(training_step)

    def outputs(loss: Tensor) -> Arrays:
        return {"loss": loss.numpy(), **updates(_arrays(trained), operands)}

    return Job(lambda: step(images, labels), outputs)


class _Adam:
    """TensorFlow's kernel for the update of one parameter, and the state of all."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._moments = {
            name: (tf.Variable(tf.zeros_like(variable)), tf.Variable(tf.zeros_like(variable)))
            for name, variable in parameters.items()
        }
        self._powers = tf.Variable(np.float32(1)), tf.Variable(np.float32(1))

    def update(self, gradients: Mapping[str, Tensor]) -> None:
        betas = ADAM["beta1"], ADAM["beta2"]
        powers = [
            power.assign(power * beta) for power, beta in zip(self._powers, betas, strict=True)
        ]
        for name, variable in self._parameters.items():
            first, second = self._moments[name]
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=ADAM["learning_rate"],
                beta1=betas[0],
                beta2=betas[1],
                epsilon=ADAM["epsilon"],
                grad=gradients[name],
            )


PEER = TensorFlow
