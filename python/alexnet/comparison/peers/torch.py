"""PyTorch in its own layout (NCHW) and in channels_last: eager, compiled, frozen.

bfloat16 it has in two ways: autocast, which casts what goes into products, and `fp32_precision`,
which leaves the arrays float32 and lets oneDNN round them within the products. By default it
computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch's own documents call it

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
from alexnet.comparison.peers.windows import conv2d_extents, pool2d_extents
from alexnet.contract.arguments import AnyArray, Shape
from alexnet.network.layer import Layer
from alexnet.network.layers import LRN, BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d

Tensor: TypeAlias = Any
Tensors: TypeAlias = Mapping[str, Tensor]
Function: TypeAlias = Callable[[Tensor, Tensors, bool], Tensor]

MEMORY_FORMATS = {
    "nchw": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
EAGER, COMPILED, FROZEN = "eager", "compiled", "frozen"
MAX_AUTOTUNE = "max-autotune"  # torch.compile's mode; benchmarks/gpu_check has it, on a GPU
AUTOCAST, INTERNAL = "autocast", "fp32_precision"  # the two ways to bfloat16
# Weights that are constants are cast or rounded once, so compiled without is no faster.
BFLOAT16_WAYS = (
    *(f"{AUTOCAST} {way}" for way in (EAGER, COMPILED, FROZEN)),
    *(f"{INTERNAL} {way}" for way in (EAGER, FROZEN)),
)


class Torch(Peer):
    """Forward under inference_mode, gradients by autograd, Adam in its fused form.

    A mode is how it runs and, unless the case has no images, the layout. "compiled" is
    torch.compile, "frozen" the same with the weights as constants, which it may lay out anew.
    """

    def __init__(self, threads: int, device: str = "cpu", dtype: Any = torch.float32) -> None:
        torch.set_num_threads(threads)
        self._device = device
        self._dtype = dtype
        self.tensors: dict[str, Tensor] = {}  # of the last case, whose images may be written to

    def version(self) -> str:
        return f"PyTorch {torch.__version__}"

    def modes(self, case: Case) -> tuple[str, ...]:
        if isinstance(case, NetworkCase) and case.precision == BFLOAT16:
            ways: tuple[str, ...] = BFLOAT16_WAYS
        elif isinstance(case, NetworkCase):
            ways = (EAGER, COMPILED, FROZEN) if case.target == FORWARD else (EAGER, COMPILED)
        elif isinstance(case.layer, Dense):
            return (f"{EAGER} nchw",)
        else:
            ways = (EAGER,) if isinstance(case.layer, Conv2d) else (EAGER, COMPILED)
        return tuple(f"{way} {layout}" for way in ways for layout in MEMORY_FORMATS)

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:
        *reduced, way, layout = mode.split()
        compiled = _same if way == EAGER else _compiler(way)
        for operators in (torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul):
            operators.fp32_precision = "bf16" if INTERNAL in reduced else "none"
        tensors = {name: self.tensor(name, array, layout) for name, array in operands.items()}
        self.tensors = tensors
        if isinstance(case, NetworkCase):
            return _network_job(case, tensors, operands, compiled, AUTOCAST in reduced)
        return _layer_job(case, tensors, compiled)

    def tensor(self, name: str, array: AnyArray, layout: str) -> Tensor:
        """Lay an array out as an operand of that name, on the device and in its dtype."""
        tensor = _tensor(name, array, layout).to(self._device)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


def _same(function: Any) -> Any:
    return function


def _compiler(way: str) -> Any:
    """Make a `torch.compile` that knows nothing of earlier cases."""
    import torch._functorch.config  # with all of the compiler, which eager runs do without
    import torch._inductor.config

    torch.compiler.reset()
    torch._functorch.config.donated_buffer = False  # a layer's gradient is taken repeatedly
    torch._inductor.config.compile_threads = 1
    torch._inductor.config.freezing = way == FROZEN
    mode = MAX_AUTOTUNE if way == MAX_AUTOTUNE else "default"
    return partial(torch.compile, dynamic=False, mode=mode)


# --- layouts --------------------------------------------------------------------------------------


def _tensor(name: str, array: AnyArray, layout: str) -> Tensor:
    """NHWC to NCHW, HWIO to OIHW, (in, out) to (out, in): copies, laid out as `layout` says."""
    tensor = torch.from_numpy(np.array(array))
    if tensor.ndim == 4:
        axes = (3, 2, 0, 1) if _is_weight(name) else (0, 3, 1, 2)
        return tensor.permute(axes).contiguous(memory_format=MEMORY_FORMATS[layout])
    return tensor.t().contiguous() if _is_weight(name) else tensor


def _array(name: str, tensor: Tensor) -> AnyArray:
    """Undo `_tensor`."""
    array: AnyArray = tensor.detach().cpu().numpy()
    if array.ndim == 4:
        return array.transpose((2, 3, 1, 0) if _is_weight(name) else (0, 2, 3, 1))
    return array.T if _is_weight(name) else array


def _arrays(names: list[str], tensors: tuple[Tensor, ...]) -> dict[str, AnyArray]:
    return {name: _array(name, tensor) for name, tensor in zip(names, tensors, strict=True)}


def _is_weight(name: str) -> bool:
    return name.endswith("weight")


# --- layers ---------------------------------------------------------------------------------------
# Each builds the function of x, the layer's parameters and `training` for one input shape (NHWC).


def _conv2d(layer: Conv2d, input_shape: Shape) -> Function:
    s = conv2d_extents(layer, input_shape)
    pads = (s.pad_left, s.pad_right, s.pad_top, s.pad_bottom)
    symmetric = s.pad_left == s.pad_right and s.pad_top == s.pad_bottom
    how = {
        "stride": (s.stride_height, s.stride_width),
        "padding": (s.pad_top, s.pad_left) if symmetric else 0,
        "groups": s.groups,
    }
    # PyTorch pads both sides alike; where SAME does not, the image is padded beforehand.

    def function(x: Tensor, parameters: Tensors, _: bool) -> Tensor:
        padded = x if symmetric else F.pad(x, pads)
        y = F.conv2d(padded, parameters["weight"], parameters.get("bias"), **how)
        return _activated(y, layer.activation)

    return function


def _dense(layer: Dense, _: Shape) -> Function:
    def function(x: Tensor, parameters: Tensors, _: bool) -> Tensor:
        y = F.linear(x, parameters["weight"], parameters.get("bias"))
        return _activated(y, layer.activation)

    return function


def _lrn(layer: LRN, _: Shape) -> Function:
    """PyTorch divides alpha by the window."""
    window = 2 * layer.depth_radius + 1
    how = {"alpha": layer.alpha * window, "beta": layer.beta, "k": layer.bias}
    return lambda x, _parameters, _training: F.local_response_norm(x, window, **how)


def _max_pool2d(layer: MaxPool2d, input_shape: Shape) -> Function:
    s = pool2d_extents(layer, input_shape)
    window, stride = (s.window_height, s.window_width), (s.stride_height, s.stride_width)
    padding = (s.pad_top, s.pad_left)

    def function(x: Tensor, _parameters: Tensors, _training: bool) -> Tensor:
        return F.max_pool2d(x, window, stride, padding, ceil_mode=layer.ceil_mode)

    return function


def _batch_norm(layer: BatchNorm, _: Shape) -> Function:
    how = {"momentum": layer.momentum, "eps": layer.epsilon}

    def function(x: Tensor, parameters: Tensors, training: bool) -> Tensor:
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


def _dropout(_: Dropout, __: Shape) -> Function:
    """Nothing in inference; cases of training have none."""
    return lambda x, _parameters, _training: x


def _flatten(_: Flatten, __: Shape) -> Function:
    """Rows first and channels last, which in channels_last is the order in memory."""
    return lambda x, _parameters, _training: x.permute(0, 2, 3, 1).flatten(1)


def _activated(y: Tensor, activation: str | None) -> Tensor:
    return y if activation is None else y.relu_()


_FUNCTIONS: dict[type[Layer], Callable[[Any, Shape], Function]] = {
    Conv2d: _conv2d,
    Dense: _dense,
    LRN: _lrn,
    MaxPool2d: _max_pool2d,
    BatchNorm: _batch_norm,
    Dropout: _dropout,
    Flatten: _flatten,
}


# --- jobs -----------------------------------------------------------------------------------------


def _layer_job(case: LayerCase, tensors: dict[str, Tensor], compiled: Any) -> Job:
    function = compiled(_FUNCTIONS[type(case.layer)](case.layer, case.input_shape))
    x, parameters = tensors["x"], {name: tensors[name] for name in case.parameter_shapes}
    if case.direction == "forward":
        run = torch.inference_mode()(partial(function, x, parameters, True))
        return Job(run, lambda y: {"y": _array("y", y)})
    wanted = {f"d{name}": tensor for name, tensor in {"x": x, **parameters}.items()}
    wanted = {name: wanted[name].requires_grad_() for name in case.result_shapes}
    y = function(x, parameters, True)
    run = partial(torch.autograd.grad, y, [*wanted.values()], tensors["dy"], retain_graph=True)
    return Job(run, partial(_arrays, [*wanted]))


class _Network(torch.nn.Module):  # type: ignore[misc]
    """The layers as a module, whose parameters are what freezing makes constant."""

    def __init__(self, case: NetworkCase, tensors: Tensors, autocast: bool) -> None:
        super().__init__()
        self._autocast = autocast
        self._steps = []
        trained = case.variant.parameter_shapes()
        for layer, shape, own in case.layers(tensors):
            function = _FUNCTIONS[type(layer)](layer, shape)
            attributes = {name: f"{layer.name}_{name}" for name in own}
            self._steps.append((function, attributes))
            for name, tensor in own.items():
                if f"{layer.name}.{name}" in trained:
                    self.register_parameter(attributes[name], torch.nn.Parameter(tensor))
                else:
                    self.register_buffer(attributes[name], tensor)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        with self._arithmetic():
            for function, attributes in self._steps:
                own = {name: getattr(self, attribute) for name, attribute in attributes.items()}
                x = function(x, own, training)
            return x

    def _arithmetic(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self._autocast else nullcontext()


def _network_job(
    case: NetworkCase,
    tensors: dict[str, Tensor],
    operands: Arrays,
    compiled: Any,
    autocast: bool,
) -> Job:
    images, network = tensors["x"], _Network(case, tensors, autocast)
    names, parameters = [*case.variant.parameter_shapes()], [*network.parameters()]
    run = compiled(network)
    if case.target == FORWARD:
        forward = torch.inference_mode()(partial(run, images, False))
        precision = BFLOAT16 if case.precision == BFLOAT16 else FLOAT32
        return Job(forward, lambda y: {"y": _array("y", y.float())}, precision)

    def gradients() -> tuple[Tensor, ...]:
        y = run(images, True)
        return y, *torch.autograd.grad(y, parameters, y.detach())

    if case.target != TRAINING_STEP:
        return Job(gradients, partial(_arrays, ["y", *names]))

    labels, betas = tensors["labels"], (ADAM["beta1"], ADAM["beta2"])
    optimizer = torch.optim.Adam(
        parameters, ADAM["learning_rate"], betas, ADAM["epsilon"], fused=True
    )

    def training_step() -> Tensor:
        loss = F.cross_entropy(run(images, True), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def outputs(loss: Tensor) -> Arrays:
        after = _arrays(names, tuple(parameters))
        return {"loss": loss.detach().cpu().numpy(), **updates(after, operands)}

    return Job(training_step, outputs)


PEER = Torch
