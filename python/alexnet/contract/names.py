"""Names that other libraries have, and slips of the pen: the error says what it is called here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

from alexnet.messages import hint

P = ParamSpec("P")
R = TypeVar("R")

# Arguments of PyTorch, Keras and TensorFlow, where their names are not near to those here.
ARGUMENTS = {
    "betas": "beta1",
    "eps": "epsilon",
    "input": "x",
    "inputs": "x",
    "kernel": "weight",
    "kernel_size": "window",
    "lr": "learning_rate",
    "p": "rate",
    "params": "network",
    "pool_size": "window",
    "target": "labels",
    "tensor": "x",
}
# Methods of PyTorch's and Keras's networks and optimizers.
_MODES = "net(x) is inference, net(x, training=True) training"
_DEVICES = 'a network is made on its device: AlexNet(..., device="cuda")'
_LOOP = "docs/python.md has the loop, alexnet.training.Trainer is one"
METHODS = {
    "compile": _LOOP,
    "cuda": _DEVICES,
    "eval": _MODES,
    "fit": _LOOP,
    "load_state_dict": "assign(tensors) takes arrays by name",
    "predict": "net(x) gives logits, alexnet.predict takes a model and images",
    "state_dict": "tensors() gives its arrays by name",
    "to": _DEVICES,
    "train": _MODES,
    "zero_grad": "backward overwrites the gradients, so none have to be zero",
}


def check_keywords(function: str, known: Iterable[str], given: Iterable[str]) -> None:
    """TypeError for the first name `given` that is not `known`, with the one that was meant."""
    names = list(known)
    for name in given:
        if name not in names:
            meant = ARGUMENTS.get(name)
            near = f"; did you mean {meant}?" if meant in names else hint(name, names)
            expected = "" if near else f", expected one of {', '.join(names)}"
            raise TypeError(f"{function}: there is no argument {name}{near or expected}") from None


def explaining_keywords(owner: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let `owner`, whose `__init__` is decorated, explain arguments by names that it has not."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = [name for name in inspect.signature(function).parameters if name != "self"]

        @functools.wraps(function)
        def explaining(*args: P.args, **kwargs: P.kwargs) -> R:
            check_keywords(owner, known, kwargs)
            return function(*args, **kwargs)

        return explaining

    return decorate


class ExplainsNames:
    """A base of classes whose objects explain methods that others have, such as `eval`."""

    if not TYPE_CHECKING:  # to a type checker a name that there is not stays an error

        def __getattr__(self, name: str) -> NoReturn:
            instead = f": {METHODS[name]}" if name in METHODS else ""
            message = f"{type(self).__name__!r} object has no attribute {name!r}{instead}"
            raise AttributeError(message, name=name, obj=self)
