"""The project's own kernels and network.

Results go to arrays that exist before, as in a network, whose buffers stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from alexnet import cpu, ops, runtime
from alexnet.arrays import aligned_copy, aligned_empty
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
from alexnet.network.freezing import TILES
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, MaxPool2d
from alexnet.network.variants import AlexNet
from alexnet.training.optimizers import Adam

FROZEN = " frozen"


class Alexnet(Peer):
    """Modes: the instruction set, and for convolutions the algorithm after a slash.

    "frozen" is a network that keeps what it makes of its weights, which one in bfloat16 always
    does. By default, networks compute in float32.
    """

    def __init__(self, threads: int) -> None:
        runtime.set_num_threads(threads)
        self._isas = dict.fromkeys((runtime.cpu_isa(), *runtime.available_isas()))

    def version(self) -> str:
        return f"alexnet {runtime.build_info()['version']}"

    def modes(self, case: Case) -> tuple[str, ...]:
        isas = tuple(self._isas)
        if isinstance(case, NetworkCase) and case.target == FORWARD:
            frozen = tuple(isa + FROZEN for isa in isas)
            return frozen if case.precision == BFLOAT16 else (*isas, *frozen)
        if not isinstance(case, LayerCase) or not isinstance(case.layer, Conv2d):
            return isas
        # The naive convolution is for study; a batch takes it seconds.
        algorithms = (
            algorithm
            for algorithm in ops.conv2d_algorithms()
            if (algorithm != "naive" or case.batch_size == 1) and _serves(algorithm, case)
        )
        return (*isas, *(f"{isas[0]}/{algorithm}" for algorithm in algorithms))

    def contenders(self, case: Case) -> tuple[str, ...]:
        """Take the default, the same frozen, and direct convolution, with all multiplications."""
        modes, isa = self.modes(case), next(iter(self._isas))
        return tuple(
            mode for mode in modes if mode in (modes[0], isa + FROZEN) or mode.endswith("/direct")
        )

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        isa, _, algorithm = mode.removesuffix(FROZEN).partition("/")
        runtime.set_cpu_isa(isa)
        if isinstance(case, NetworkCase):
            return _network_job(case, operands, is_frozen=mode.endswith(FROZEN))
        operands = {name: aligned_copy(array) for name, array in operands.items()}
        out = {name: aligned_empty(shape) for name, shape in case.result_shapes.items()}
        run = layer_call(cpu, case, operands, out, algorithm or "auto")
        return Job(run, lambda _: out)


def _serves(algorithm: str, case: LayerCase) -> bool:
    """Whether an algorithm takes the shape, seen from a batch without images."""
    empty = dataclasses.replace(case, batch_size=0)
    operands = {name: np.empty(shape, np.float32) for name, shape in empty.operand_shapes.items()}
    out = {name: np.empty(shape, np.float32) for name, shape in empty.result_shapes.items()}
    try:
        _conv2d(cpu, empty, operands, out, algorithm)()
    except ValueError:
        return False
    return True


def _conv2d(
    operators: ModuleType, case: LayerCase, operands: Arrays, out: Arrays, algorithm: str
) -> Any:
    layer: Any = case.layer
    call: Callable[..., Any]
    if case.direction == "forward":
        x, weight, bias = operands["x"], operands["weight"], operands.get("bias")
        call = partial(operators.conv2d, x, weight, bias, out=out["y"])
    elif case.direction == "backward_input":
        dy, weight = operands["dy"], operands["weight"]
        call = partial(operators.conv2d_backward_input, dy, weight, case.input_shape, out=out["dx"])
    else:
        gradients = (out["dweight"], out.get("dbias"))
        dy, x, kernel = operands["dy"], operands["x"], layer.kernel_size
        call = partial(operators.conv2d_backward_weight, dy, x, kernel, out=gradients)
    window = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
    return partial(call, **window, algorithm=algorithm)


def _dense(operators: ModuleType, case: LayerCase, operands: Arrays, out: Arrays, _: str) -> Any:
    if case.direction == "forward":
        x, weight, bias = operands["x"], operands["weight"], operands.get("bias")
        return partial(operators.dense, x, weight, bias, out=out["y"])
    if case.direction == "backward_input":
        return partial(
            operators.dense_backward_input, operands["dy"], operands["weight"], out=out["dx"]
        )
    gradients = (out["dweight"], out.get("dbias"))
    return partial(operators.dense_backward_weight, operands["dy"], operands["x"], out=gradients)


def _lrn(operators: ModuleType, case: LayerCase, operands: Arrays, out: Arrays, _: str) -> Any:
    layer: Any = case.layer
    how = {name: getattr(layer, name) for name in ("depth_radius", "bias", "alpha", "beta")}
    if case.direction == "forward":
        return partial(operators.lrn, operands["x"], **how, out=out["y"])
    return partial(operators.lrn_backward, operands["dy"], operands["x"], **how, out=out["dx"])


def _max_pool2d(
    operators: ModuleType, case: LayerCase, operands: Arrays, out: Arrays, _: str
) -> Any:
    layer: Any = case.layer
    how = {name: getattr(layer, name) for name in ("window", "stride", "padding", "ceil_mode")}
    if case.direction == "forward":
        return partial(operators.max_pool2d, operands["x"], **how, out=out["y"])
    return partial(
        operators.max_pool2d_backward, operands["dy"], operands["x"], **how, out=out["dx"]
    )


def _batch_norm(
    operators: ModuleType, case: LayerCase, operands: Arrays, out: Arrays, _: str
) -> Any:
    layer: Any = case.layer
    x, gamma, beta = operands["x"], operands["gamma"], operands["beta"]
    how = {"epsilon": layer.epsilon}
    if case.direction == "forward":
        return partial(operators.batch_norm, x, gamma, beta, **how, out=out["y"])
    statistics = operators.batch_norm(x, gamma, beta, **how)[1:]
    results = (out["dx"], out["dgamma"], out["dbeta"])
    return partial(
        operators.batch_norm_backward, operands["dy"], x, gamma, *statistics, **how, out=results
    )


_OPERATORS: dict[type[Layer], Callable[..., Callable[[], Any]]] = {
    Conv2d: _conv2d,
    Dense: _dense,
    LRN: _lrn,
    MaxPool2d: _max_pool2d,
    BatchNorm: _batch_norm,
}


def layer_call(
    operators: ModuleType, case: LayerCase, operands: Arrays, out: Arrays, algorithm: str = "auto"
) -> Callable[[], Any]:
    """Make a function that computes a layer's case by `operators` from `operands` into `out`."""
    return _OPERATORS[type(case.layer)](operators, case, operands, out, algorithm)


def _network_job(case: NetworkCase, operands: Arrays, *, is_frozen: bool) -> Job:
    precision = said = BFLOAT16 if case.precision == BFLOAT16 else FLOAT32
    if precision == BFLOAT16 and runtime.cpu_bfloat16() != TILES:
        said = f"{BFLOAT16}/{FLOAT32}"  # dense layers, convolutions
    network = AlexNet(case.variant, seed=None, precision=precision)
    for name, array in {**network.parameters, **network.state}.items():
        if name in operands:
            array[...] = operands[name]
    images = aligned_copy(operands["x"])
    if is_frozen:
        network.freeze()
    if case.target == FORWARD:
        return Job(lambda: network.forward(images), lambda y: {"y": y}, said)
    if case.target == TRAINING_STEP:
        return _training_job(network, images, operands)

    def step() -> tuple[Any, Arrays]:
        y = network.forward(images, training=True)
        return y, network.backward(y)

    return Job(step, lambda result: {"y": result[0], **result[1]})


def _training_job(network: AlexNet, images: Any, operands: Arrays) -> Job:
    labels, optimizer = operands["labels"], Adam(network, **ADAM)

    def step() -> Any:
        logits = network.forward(images, training=True)
        loss = ops.softmax_cross_entropy(logits, labels)
        network.backward(ops.softmax_cross_entropy_backward(logits, labels))
        optimizer.step()
        return np.asarray(loss)

    return Job(step, lambda loss: {"loss": loss, **updates(network.parameters, operands)})


PEER = Alexnet
