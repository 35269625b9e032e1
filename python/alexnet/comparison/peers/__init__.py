"""What is measured against what: this project and the frameworks it is compared with.

One file a framework, named as the module that it imports; `interface.Peer` is all that a new one
has to provide, beside its name in FRAMEWORKS. Nothing here imports one: each runs in a process of
its own (`worker`).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from alexnet.messages import hint

OURS = "alexnet"

# Modules that have to be installed for each.
FRAMEWORKS = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow",),
    "jax": ("jax",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "ncnn": ("ncnn",),
}
EVERY: dict[str, tuple[str, ...]] = {"all": tuple(FRAMEWORKS), "none": ()}


def chosen(names: str) -> list[str]:
    """Frameworks of a list such as "torch,jax", of "all", or of "none".

    Raises
    ------
    ValueError
        A name is unknown.
    """
    if names in EVERY:
        return list(EVERY[names])
    wanted = list(dict.fromkeys(names.split(",")))
    unknown = [name for name in wanted if name not in FRAMEWORKS]
    if unknown:
        near = hint(unknown[0], (*FRAMEWORKS, *(EVERY if len(wanted) == 1 else ())))
        raise ValueError(
            f"{unknown[0]!r}, expected all, none or some of {','.join(FRAMEWORKS)}{near}"
        )
    return wanted


def missing(names: Sequence[str]) -> dict[str, str]:
    """Those that are not installed, each with the first module that it lacks."""
    lacking = {
        name: [module for module in FRAMEWORKS[name] if find_spec(module) is None] for name in names
    }
    return {name: modules[0] for name, modules in lacking.items() if modules}
