"""PyTorch, eager, in its own layout (NCHW) and in channels_last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's own documents call it
from shapes import Arrays, Case, NetworkCase

from alexnet.benchmark import FORWARD
from alexnet.checks import Shape
from alexnet.layer import Layer
from alexnet.layers import LRN, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d
from alexnet.shapes import conv2d_shape, pool2d_shape
from peers.interface import Job, Peer

Tensors: TypeAlias = Mapping[str, torch.Tensor]
Function: TypeAlias = Callable[[torch.Tensor, Tensors, bool], torch.Tensor]

MEMORY_FORMATS = {
    "nchw": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


class Torch(Peer):
    """Forward under inference_mode, gradients by autograd."""

    def __init__(self, threads: int, device: str = "cpu") -> None:
        torch.set_num_threads(threads)
        self._device = device

    def version(self) -> str:
        return f"PyTorch {torch.__version__}, eager"

    def modes(self, case: Case) -> tuple[str, ...]:
        is_dense = not isinstance(case, NetworkCase) and isinstance(case.layer, Dense)
        return ("nchw",) if is_dense else tuple(MEMORY_FORMATS)

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        tensors = {
            name: _tensor(name, array, mode).to(self._device) for name, array in operands.items()
        }
        if isinstance(case, NetworkCase):
            return _network_job(case, tensors)
        function = _FUNCTIONS[type(case.layer)](case.layer, case.input_shape)
        x, parameters = tensors["x"], {name: tensors[name] for name in case.parameter_shapes}
        if case.direction == "forward":
            run = torch.inference_mode()(partial(function, x, parameters, True))
            return Job(run, lambda y: {"y": _array("y", y)})
        wanted = {f"d{name}": tensor for name, tensor in {"x": x, **parameters}.items()}
        wanted = {name: wanted[name].requires_grad_() for name in case.result_shapes}
        y = function(x, parameters, True)
        run = partial(torch.autograd.grad, y, [*wanted.values()], tensors["dy"], retain_graph=True)
        return Job(run, partial(_arrays, [*wanted]))


# --- layouts --------------------------------------------------------------------------------------


def _tensor(name: str, array: np.ndarray, mode: str) -> torch.Tensor:
    """NHWC to NCHW, HWIO to OIHW, (in, out) to (out, in): copies, laid out as `mode` says."""
    tensor = torch.from_numpy(np.array(array))
    if tensor.ndim == 4:
        axes = (3, 2, 0, 1) if _is_weight(name) else (0, 3, 1, 2)
        return tensor.permute(axes).contiguous(memory_format=MEMORY_FORMATS[mode])
    return tensor.t().contiguous() if _is_weight(name) else tensor


def _array(name: str, tensor: torch.Tensor) -> np.ndarray:
    """Undo `_tensor`."""
    tensor = tensor.detach().cpu()
    if tensor.ndim == 4:
        return tensor.permute((2, 3, 1, 0) if _is_weight(name) else (0, 2, 3, 1)).numpy()
    return (tensor.t() if _is_weight(name) else tensor).numpy()


def _arrays(names: list[str], tensors: tuple[torch.Tensor, ...]) -> Arrays:
    return {name: _array(name, tensor) for name, tensor in zip(names, tensors, strict=True)}


def _is_weight(name: str) -> bool:
    return name.endswith("weight")


# --- layers ---------------------------------------------------------------------------------------
# Each builds the function of x, the layer's parameters and `training` for one input shape (NHWC).


def _conv2d(layer: Conv2d, input_shape: Shape) -> Function:
    weight = layer.parameter_shapes(input_shape)["weight"]
    s = conv2d_shape(layer.name, input_shape, weight, layer.stride, layer.padding, layer.groups)
    pads = (s.pad_left, s.pad_right, s.pad_top, s.pad_bottom)
    symmetric = s.pad_left == s.pad_right and s.pad_top == s.pad_bottom
    how = {
        "stride": (s.stride_height, s.stride_width),
        "padding": (s.pad_top, s.pad_left) if symmetric else 0,
        "groups": s.groups,
    }
    # PyTorch pads both sides alike; where SAME does not, the image is padded beforehand.

    def function(x: torch.Tensor, parameters: Tensors, _: bool) -> torch.Tensor:
        padded = x if symmetric else F.pad(x, pads)
        y = F.conv2d(padded, parameters["weight"], parameters.get("bias"), **how)
        return _activated(y, layer.activation)

    return function


def _dense(layer: Dense, _: Shape) -> Function:
    def function(x: torch.Tensor, parameters: Tensors, _: bool) -> torch.Tensor:
        return _activated(F.linear(x, parameters["weight"], parameters["bias"]), layer.activation)

    return function


def _lrn(layer: LRN, _: Shape) -> Function:
    """PyTorch divides alpha by the window."""
    window = 2 * layer.depth_radius + 1
    how = {"alpha": layer.alpha * window, "beta": layer.beta, "k": layer.bias}
    return lambda x, _parameters, _training: F.local_response_norm(x, window, **how)


def _max_pool2d(layer: MaxPool2d, input_shape: Shape) -> Function:
    s = pool2d_shape(
        layer.name, input_shape, layer.window, layer.stride, layer.padding, layer.ceil_mode
    )
    how = {
        "kernel_size": (s.window_height, s.window_width),
        "stride": (s.stride_height, s.stride_width),
        "padding": (s.pad_top, s.pad_left),
        "ceil_mode": layer.ceil_mode,
    }
    return lambda x, _parameters, _training: F.max_pool2d(x, **how)


def _batch_norm(layer: BatchNorm, _: Shape) -> Function:
    how = {"momentum": layer.momentum, "eps": layer.epsilon}

    def function(x: torch.Tensor, parameters: Tensors, training: bool) -> torch.Tensor:
        y = F.batch_norm(
            x,
            parameters.get("running_mean"),
            parameters.get("running_variance"),
            parameters["gamma"],
            parameters["beta"],
            training,
            **how,
        )
        return _activated(y, layer.activation)

    return function


def _flatten(_: Flatten, __: Shape) -> Function:
    """Rows first and channels last, which in channels_last is the order in memory."""
    return lambda x, _parameters, _training: x.permute(0, 2, 3, 1).flatten(1)


def _activated(y: torch.Tensor, activation: str | None) -> torch.Tensor:
    return y if activation is None else y.relu_()


_FUNCTIONS: dict[type[Layer], Callable[[Any, Shape], Function]] = {
    Conv2d: _conv2d,
    Dense: _dense,
    LRN: _lrn,
    MaxPool2d: _max_pool2d,
    BatchNorm: _batch_norm,
    Flatten: _flatten,
}


# --- networks -------------------------------------------------------------------------------------


def _network_job(case: NetworkCase, tensors: Tensors) -> Job:
    variant, images = case.variant, tensors["x"]
    trained = {name: tensors[name] for name in variant.parameter_shapes()}
    steps = []
    for layer, shape in zip(variant.layers, variant.shapes(case.batch_size), strict=False):
        prefix = f"{layer.name}."
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        steps.append((_FUNCTIONS[type(layer)](layer, shape), own))

    def forward(training: bool) -> torch.Tensor:
        y = images
        for function, parameters in steps:
            y = function(y, parameters, training)
        return y

    if case.target == FORWARD:
        run = torch.inference_mode()(partial(forward, False))
        return Job(run, lambda y: {"y": _array("y", y)})
    parameters = [tensor.requires_grad_() for tensor in trained.values()]

    def step() -> tuple[torch.Tensor, ...]:
        y = forward(True)
        return y, *torch.autograd.grad(y, parameters, y.detach())

    return Job(step, partial(_arrays, ["y", *trained]))


PEER = Torch
