"""Operators of a device, called with NumPy arrays: copied there, computed, and copied back.

For comparisons, where what is compared with is NumPy's, and time does not matter.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from alexnet import reference
from alexnet.arrays import Array, ArrayKind, array_kind

OPERATORS = tuple(name for name in reference.__all__ if name != "conv2d_algorithms")
CHANGED_IN_PLACE = {
    "sgd_update": ("parameter", "velocity"),
    "adam_update": ("parameter", "first_moment", "second_moment"),
}


def hosted(device: ModuleType) -> ModuleType:
    """Make a module with the operators of `device`, such as `alexnet.cuda`, on NumPy arrays."""
    module = ModuleType(f"alexnet.verification.hosted.{device.__name__}")
    for name in OPERATORS:
        setattr(module, name, _hosted(getattr(device, name), name, array_kind(device)))
    for name in ("conv2d_algorithms", "conv2d_choice"):
        setattr(module, name, getattr(device, name))
    return module


def _hosted(operator: Callable[..., Any], name: str, kind: ArrayKind) -> Callable[..., Any]:
    signature = inspect.signature(operator)

    @functools.wraps(operator)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        out = given.pop("out", None)
        there = {
            argument: kind.from_host(value) if isinstance(value, np.ndarray) else value
            for argument, value in given.items()
        }
        results = operator(**there)
        for argument in CHANGED_IN_PLACE.get(name, ()):
            given[argument][...] = kind.to_host(there[argument])
        if isinstance(results, tuple):
            # batch_norm has one `out`, for the first of its results.
            outs = out if isinstance(out, tuple) else (out,) + (None,) * (len(results) - 1)
            pairs = zip(results, outs, strict=True)
            return tuple(_delivered(kind, result, place) for result, place in pairs)
        return None if results is None else _delivered(kind, results, out)

    return call


def _delivered(kind: ArrayKind, result: Array, out: Any) -> Array:
    """Bring `result` to the host, into `out` where that is given."""
    if out is None:
        return kind.to_host(result)
    out[...] = kind.to_host(result)
    return out
