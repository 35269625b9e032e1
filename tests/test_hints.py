"""Messages that end in the next step: what they say is run, and mends the call."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import alexnet
from alexnet import cpu, reference
from alexnet.contract.names import METHODS
from alexnet.data import ImageSet
from alexnet.network.layers import Conv2d, Dense
from alexnet.network.variants import AlexNet

IMPLEMENTATIONS = pytest.mark.parametrize(
    "on", [cpu, reference], ids=lambda module: module.__name__.removeprefix("alexnet.")
)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


X, WEIGHT, DY = zeros(2, 9, 7, 4), zeros(3, 3, 4, 6), zeros(2, 9, 7, 6)
NCHW, OIHW, DY_NCHW = (
    X.transpose(0, 3, 1, 2),
    WEIGHT.transpose(3, 2, 0, 1),
    DY.transpose(0, 3, 1, 2),
)
FEATURES, LOGITS, LABELS = zeros(3, 8), zeros(3, 5), np.zeros(3, np.int64)
ONE_HOT = np.eye(5, dtype=np.float32)[:3]

# operator, good arguments by name, those given instead
SLIPS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("conv2d", {"x": X, "weight": WEIGHT}, {"x": NCHW}),
    ("conv2d", {"x": X, "weight": WEIGHT}, {"weight": OIHW}),
    ("conv2d", {"x": X, "weight": WEIGHT}, {"x": NCHW, "weight": OIHW}),
    ("conv2d", {"x": X, "weight": zeros(3, 3, 2, 6), "groups": 2}, {"x": NCHW}),
    ("conv2d", {"x": X, "weight": WEIGHT}, {"x": X[0]}),
    ("conv2d", {"x": X, "weight": WEIGHT}, {"x": X.astype(np.int32)}),
    ("conv2d", {"x": X, "weight": WEIGHT}, {"weight": WEIGHT.tolist()}),
    (
        "conv2d_backward_input",
        {"dy": DY, "weight": WEIGHT, "input_shape": X.shape},
        {"dy": DY_NCHW},
    ),
    (
        "conv2d_backward_input",
        {"dy": DY, "weight": WEIGHT, "input_shape": X.shape},
        {"weight": OIHW},
    ),
    ("conv2d_backward_weight", {"dy": DY, "x": X, "kernel_size": 3}, {"dy": DY_NCHW}),
    ("max_pool2d", {"x": X}, {"x": X[0]}),
    ("max_pool2d_backward", {"dy": zeros(2, 4, 3, 4), "x": X}, {"dy": zeros(2, 4, 4, 3)}),
    ("lrn", {"x": X}, {"x": X.astype(np.uint8)}),
    ("lrn_backward", {"dy": X, "x": X}, {"dy": NCHW}),
    ("relu", {"x": X}, {"x": X.astype(np.float16)}),
    ("relu_backward", {"dy": X, "y": X}, {"y": NCHW}),
    ("dropout", {"x": X}, {"x": X.tolist()}),
    ("dense", {"x": FEATURES, "weight": zeros(8, 5)}, {"weight": zeros(5, 8)}),
    ("dense", {"x": FEATURES, "weight": zeros(8, 5)}, {"x": zeros(3, 2, 2, 2)}),
    ("dense", {"x": FEATURES, "weight": zeros(8, 5)}, {"x": FEATURES[0]}),
    ("dense_backward_input", {"dy": LOGITS, "weight": zeros(8, 5)}, {"weight": zeros(5, 8)}),
    ("dense_backward_weight", {"dy": LOGITS, "x": FEATURES}, {"x": zeros(3, 2, 2, 2)}),
    ("batch_norm", {"x": X, "gamma": zeros(4), "beta": zeros(4)}, {"x": NCHW}),
    ("batch_norm", {"x": X, "gamma": zeros(4), "beta": zeros(4)}, {"gamma": zeros(1, 4, 1, 1)}),
    ("softmax_cross_entropy", {"logits": LOGITS, "labels": LABELS}, {"labels": ONE_HOT}),
    (
        "softmax_cross_entropy_backward",
        {"logits": LOGITS, "labels": LABELS},
        {"labels": ONE_HOT.astype(np.int64)},
    ),
    (
        "softmax_cross_entropy",
        {"logits": LOGITS, "labels": LABELS},
        {"labels": LABELS.astype(np.float64)},
    ),
    ("softmax_cross_entropy", {"logits": LOGITS, "labels": LABELS}, {"labels": LABELS[:, None]}),
    ("l2_loss", {"x": X}, {"x": X > 0}),
]


PARENTHESES = r"\((?:[^()]|\([^()]*\))*\)"


def mended_by(message: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call with those of its message's last part, which is run, instead."""
    hint = message.rpartition(": ")[2]
    found = {
        name: re.search(
            rf"np\.asarray\({name}\b[^)]*\)|\b{name}(?:\.\w+(?:{PARENTHESES})?|\[None\])+", hint
        )
        for name in arguments
    }
    scope = {"np": np, **arguments}
    return arguments | {name: eval(step[0], scope) for name, step in found.items() if step}


@IMPLEMENTATIONS
@pytest.mark.parametrize(("operator", "good", "given"), SLIPS)
def test_the_step_that_a_message_names_mends_the_call(
    operator: str, good: dict[str, Any], given: dict[str, Any], on: ModuleType
) -> None:
    function = getattr(on, operator)
    function(**good)
    arguments = good | given
    with pytest.raises((TypeError, ValueError)) as caught:
        function(**arguments)
    mended = mended_by(str(caught.value), arguments)
    for name in given:
        assert mended[name] is not arguments[name], str(caught.value)
    function(**mended)


class Tensor:
    """What a hint looks at of a torch.Tensor; tests/frameworks has real ones."""

    def __init__(self, *, requires_grad: bool, is_cpu: bool) -> None:
        self.requires_grad, self.is_cpu = requires_grad, is_cpu

    def numpy(self) -> np.ndarray:
        return X


Tensor.__module__ = "torch"


@pytest.mark.parametrize(
    ("requires_grad", "is_cpu", "step"),
    [
        (False, True, "x.numpy()"),
        (True, True, "x.detach().numpy()"),
        (True, False, "x.detach().cpu().numpy()"),
        (False, False, "x.cpu().numpy()"),
    ],
)
@pytest.mark.parametrize("on", [alexnet, cpu, reference])
def test_a_tensor_of_pytorch(on: ModuleType, requires_grad: bool, is_cpu: bool, step: str) -> None:
    tensor = Tensor(requires_grad=requires_grad, is_cpu=is_cpu)
    with pytest.raises(TypeError, match=rf"torch\.Tensor.*: {re.escape(step)} gives one$"):
        on.relu(tensor)
    with pytest.raises(TypeError, match=r"out is of type torch\.Tensor, .*32( or float64)?$"):
        on.relu(X, out=tensor)


def test_arrays_that_are_written_to_are_not_copied() -> None:
    for argument in ("parameter", "velocity"):
        arrays = {"parameter": X, "gradient": X, "velocity": X.copy()}
        arrays[argument] = X.astype(np.float64)
        with pytest.raises(TypeError, match=rf"{argument} has dtype float64, expected float32$"):
            cpu.sgd_update(**arrays, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"out has shape \(2, 4, 9, 7\), expected \(2, 9, 7, 4\)$"):
        cpu.relu(X, out=np.ascontiguousarray(NCHW))


def test_no_step_is_named_where_none_is_known() -> None:
    for array in (None, object(), zeros(2, dtype=complex)):
        with pytest.raises(TypeError, match=r"expected[^:]*$"):
            cpu.relu(array)
    with pytest.raises(ValueError, match=r"expected[^:]*$"):
        cpu.conv2d(zeros(2, 9, 9, 5), WEIGHT)


def test_only_arrays_with_a_batch_are_made_one_of_one() -> None:
    parameter, velocity, gradient = WEIGHT.copy(), WEIGHT.copy(), WEIGHT[0]
    for update in (
        lambda: cpu.sgd_update(parameter, gradient, velocity, learning_rate=0.1),
        lambda: cpu.adam_update(parameter, gradient, velocity, velocity.copy(), step=1),
    ):
        with pytest.raises(ValueError, match=r"gradient has shape .*, expected \(3, 3, 4, 6\)$"):
            update()
    with pytest.raises(ValueError, match=r"pack_dense: weight has shape \(5,\), expected \([^:]*$"):
        cpu.bfloat16.pack_dense(zeros(5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alexnet.relu(), "relu: x is missing"),
        (lambda: alexnet.conv2d(weight=WEIGHT), "conv2d: x is missing"),
        (lambda: alexnet.conv2d(X), "conv2d: weight is missing"),
        (lambda: alexnet.lrn(out=X), "lrn: x is missing"),
    ],
)
def test_an_argument_that_is_missing(call: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"):
        call()


NETWORK = AlexNet("cifar10-bn", seed=None)
IMAGES = zeros(2, 32, 32, 3)


@pytest.mark.parametrize(
    "x",
    [
        IMAGES.transpose(0, 3, 1, 2),
        IMAGES[0],
        IMAGES[0].transpose(2, 0, 1),
        IMAGES.astype(np.float64),
        IMAGES.tolist(),
    ],
    ids=["NCHW", "one image", "CHW", "float64", "list"],
)
def test_images_for_a_network(x: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        NETWORK(x)
    mended = mended_by(str(caught.value), {"x": x})["x"]
    assert mended is not x
    assert NETWORK(mended).shape[1:] == (10,)


def test_pixels_for_a_network() -> None:
    with pytest.raises(TypeError, match=r"has dtype uint8, .*: alexnet\.predict takes pixels"):
        NETWORK(zeros(1, 32, 32, 3, dtype=np.uint8))


def test_arrays_to_assign() -> None:
    tensors = NETWORK.tensors()
    turned = tensors["fc8.weight"].T
    with pytest.raises(ValueError, match=r"fc8\.weight has shape \(10, 1024\), .*: \.T$"):
        NETWORK.assign({**tensors, "fc8.weight": turned})
    with pytest.raises(ValueError, match=r"HWIO is expected, \.transpose\(2, 3, 1, 0\) gives it$"):
        NETWORK.assign({**tensors, "conv1.weight": zeros(48, 3, 3, 3)})


def test_labels_of_images() -> None:
    pixels = zeros(3, 8, 8, 3, dtype=np.uint8)
    with pytest.raises(TypeError, match=r": labels\.argmax\(axis=1\), if its rows are one-hot$"):
        ImageSet(pixels, ONE_HOT)


def test_an_optimizer_is_not_given_arrays() -> None:
    with pytest.raises(TypeError, match=r"^SGD: step takes no gradients, .*: call step\(\)$"):
        alexnet.SGD(NETWORK).step(NETWORK.gradients)
    with pytest.raises(TypeError, match=r"expected a Network, whose parameters it changes$"):
        alexnet.Adam(NETWORK.parameters)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: AlexNet("TorchVision"), "torchvision"),
        (lambda: alexnet.set_cpu_isa("Portable"), "portable"),
        (lambda: alexnet.conv2d(X, WEIGHT, padding="SAME"), "same"),
        (lambda: alexnet.conv2d(X, WEIGHT, algorithm="winogrd"), "winograd"),
    ],
)
def test_names_that_are_nearly_right(call: Callable[[], object], meant: str) -> None:
    with pytest.raises(ValueError, match=rf"expected .*; did you mean {meant}\?$"):
        call()


@pytest.mark.parametrize(
    ("call", "given", "meant"),
    [
        (lambda **given: alexnet.SGD(NETWORK, **given), {"lr": 0.1}, "learning_rate"),
        (lambda **given: alexnet.Adam(NETWORK, **given), {"eps": 1e-8}, "epsilon"),
        (lambda **given: alexnet.conv2d(X, WEIGHT, **given), {"strides": 2}, "stride"),
        (lambda **given: alexnet.max_pool2d(X, **given), {"pool_size": 2}, "window"),
        (lambda **given: alexnet.dropout(X, **given), {"p": 0.5}, "rate"),
        (alexnet.relu, {"input": X}, "x"),
        (lambda **given: Conv2d("conv1", 8, 3, **given), {"strides": 2}, "stride"),
        (lambda **given: Dense("fc1", **given), {"units": 8}, "features"),
        (lambda **given: AlexNet("cifar10-bn", **given), {"classes": 2}, "num_classes"),
    ],
)
def test_arguments_that_are_called_otherwise_here(
    call: Callable[..., object], given: dict[str, Any], meant: str
) -> None:
    (name,) = given
    message = rf"^\w+: there is no argument {name}; did you mean {meant}\?$"
    with pytest.raises(TypeError, match=message):
        call(**given)
    call(**{meant: given[name]})


def test_arguments_that_have_no_place() -> None:
    with pytest.raises(
        TypeError, match=r"^max_pool2d: 2 arguments by place, expected x, and window"
    ):
        alexnet.max_pool2d(X, 2)
    with pytest.raises(TypeError, match=r"^SGD: 2 arguments by place, expected network, and learn"):
        alexnet.SGD(NETWORK, 0.1)


def test_an_argument_that_nothing_is_near_to() -> None:
    with pytest.raises(
        TypeError, match=r"^relu: there is no argument qqq, expected one of x, out$"
    ):
        alexnet.relu(X, qqq=1)
    with pytest.raises(TypeError, match=r"^relu: x is of type NoneType"):
        alexnet.relu(None)


def test_methods_that_others_have() -> None:
    with pytest.raises(AttributeError, match=r"'eval': net\(x\) is inference, "):
        NETWORK.eval()
    with pytest.raises(AttributeError, match=r"'zero_grad': backward overwrites the gradients"):
        alexnet.SGD(NETWORK).zero_grad()
    with pytest.raises(AttributeError, match=r"^'AlexNet' object has no attribute 'qqq'$"):
        NETWORK.qqq  # noqa: B018
    for name in METHODS:
        assert not hasattr(NETWORK, name)
