"""Names that other libraries have, and slips of the pen: the error says what it is called here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from alexnet.messages import counted, hint

T = TypeVar("T")
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)

# Arguments of PyTorch, Keras and TensorFlow, where their names are not near to those here.
ARGUMENTS = {
    "betas": "beta1",
    "eps": "epsilon",
    "filters": "features",
    "input": "x",
    "inputs": "x",
    "kernel": "weight",
    "kernel_size": "window",
    "lr": "learning_rate",
    "out_channels": "features",
    "out_features": "features",
    "p": "rate",
    "params": "network",
    "pool_size": "window",
    "target": "labels",
    "tensor": "x",
    "units": "features",
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


def check_call(
    function: str, signature: inspect.Signature, args: Sequence[object], given: Collection[str]
) -> None:
    """TypeError for names `given` that there are not, too many arguments, and those missing."""
    names = [name for name in signature.parameters if name != "self"]
    for name in given:
        if name not in names:
            meant = ARGUMENTS.get(name)
            near = f"; did you mean {meant}?" if meant in names else hint(name, names)
            expected = "" if near else f", expected one of {', '.join(names)}"
            raise TypeError(f"{function}: there is no argument {name}{near or expected}") from None
    placed = [name for name in names if signature.parameters[name].kind not in BY_NAME]
    if len(args) > len(placed):
        others = [name for name in names if name not in placed]
        by_name = f", and {', '.join(others)} by name" if others else ""
        raise TypeError(
            f"{function}: {counted(len(args), 'argument')} by place, expected "
            f"{', '.join(placed)}{by_name}"
        ) from None
    for name in [name for name in names if name not in given and name not in placed[: len(args)]]:
        parameter = signature.parameters[name]
        if parameter.default is parameter.empty and parameter.kind not in VARIABLE:
            raise TypeError(f"{function}: {name} is missing") from None


def explaining_arguments(cls: type[T]) -> type[T]:
    """Let the class explain arguments by names that it has not; a decorator."""
    init = cls.__init__
    signature = inspect.signature(init)

    @functools.wraps(init)
    def explaining(self: T, *args: Any, **kwargs: Any) -> None:
        check_call(cls.__name__, signature, args, kwargs)
        init(self, *args, **kwargs)

    setattr(cls, "__init__", explaining)  # noqa: B010 - mypy has no assignment to a method
    return cls


class ExplainsNames:
    """A base of classes whose objects explain methods that others have, such as `eval`."""

    if not TYPE_CHECKING:  # to a type checker a name that there is not stays an error

        def __getattr__(self, name: str) -> NoReturn:
            instead = f": {METHODS[name]}" if name in METHODS else ""
            message = f"{type(self).__name__!r} object has no attribute {name!r}{instead}"
            raise AttributeError(message, name=name, obj=self)
